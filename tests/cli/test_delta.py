"""`nixoci delta` as far as no store is needed; tests/host has tests with a real one."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nixoci.document import dump
from nixoci.errors import NO_ACCESS
from nixoci.image_delta.artifact import CONFIG_TYPE, STREAM_TYPE, ArtifactManifest, render_manifest
from nixoci.image_delta.find import FoundDelta
from nixoci.lock.file import exclusive_access, read_lock, write_lock
from nixoci.lock.model import EMPTY_LOCK
from nixoci.oci.digest import Digest
from nixoci.oci.media_types import OCI_MANIFEST
from nixoci.oci.model import Descriptor
from nixoci.oci.reference import Reference
from tests.image_store.trees import image_path, small_tree
from tests.nix_language.locks import image, lock, platform
from tests.support.skopeo import install_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.cli.conftest import Result

NOT_THERE = (
    "image web: its image path is not in the Nix store with the hash in the lock; run `nixoci prefetch web` first"
)


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock of two images, and a Nix store that has nothing."""
    locked = lock(
        web=image("registry.example/web:1", amd64=platform("web", "a"), arm64=platform("arm", "a")),
        local=image("oci:layout:1", amd64=platform("local", "a")),
    )
    (tmp_path / "nixoci.lock.json").write_text(dump(locked), encoding="utf-8")
    (tmp_path / "store").mkdir()
    install_program(
        monkeypatch, tmp_path, "nix-instantiate", '#!/bin/sh\necho \'{"web": "web-1", "local": "local-1"}\'\n'
    )
    install_program(
        monkeypatch,
        tmp_path,
        "nix-store",
        '#!/bin/sh\nshift 2; printf "%s\\n" "$@"\n',
    )
    monkeypatch.setattr("nixoci.image_delta.find.STORE_DIR", str(tmp_path / "store"))


@pytest.mark.parametrize("action", ["pull", "list"])
@pytest.mark.parametrize("option", ["--from", "--key-file"])
def test_some_options_are_those_of_a_push(nixoci: Callable[..., Result], action: str, option: str) -> None:
    done = nixoci("delta", action, "web", option, "old")
    assert done.code == 2
    assert f"{option} is an option of `nixoci delta push`" in done.err


def test_an_artifact_of_oci_delta_is_not_signed(nixoci: Callable[..., Result]) -> None:
    done = nixoci("delta", "push", "web", "--format=oci-delta", "--key-file=key")
    assert done.code == 2
    assert "--key-file needs --format nixoci: artifacts of oci-delta need no signature" in done.err


@pytest.mark.parametrize("names", [[], ["web"], ["web", "local", "--platform=linux/amd64"]])
def test_bases_are_those_of_one_image(nixoci: Callable[..., Result], names: list[str]) -> None:
    done = nixoci("delta", "push", *names, "--from", "old")
    assert done.code == 2
    assert "--from needs exactly one NAME with one platform" in done.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["push", "local"], "image local: pinned from local files, and deltas are in registries"),
        (["list", "local"], "image local: pinned from local files, and deltas are in registries"),
        (
            ["push", "web", "--platform=linux/amd64"],
            NOT_THERE,
        ),
    ],
)
def test_what_is_missing_is_named(nixoci: Callable[..., Result], arguments: list[str], says: str) -> None:
    done = nixoci("delta", *arguments)
    assert (done.code, done.err) == (1, f"error: {says}\n")


def test_every_image_is_tried(nixoci: Callable[..., Result], tmp_path: Path) -> None:
    image_path(tmp_path / "store/web", small_tree())
    done = nixoci("delta", "pull", "--json")
    assert done.code == 1
    reasons = {each["name"]: each["message"] for each in done.json["failures"]}
    assert reasons["web"].startswith("the Nix store has no older image path of it")
    assert reasons["local"].startswith("pinned from local files")
    assert done.err.count("warning: image web, linux/") == 2
    summary = "nixoci.lock.json: no delta made the image paths of web, local; run `nixoci prefetch`"
    assert done.err.endswith(f"error: {summary}\n")


@pytest.mark.parametrize("action", ["push", "pull", "list"])
def test_a_lock_without_images_is_named(nixoci: Callable[..., Result], tmp_path: Path, action: str) -> None:
    write_lock(tmp_path / "nixoci.lock.json", EMPTY_LOCK)
    done = nixoci("delta", action)
    assert done == (0, "", "nixoci.lock.json: no images; add one with `nixoci add REF`\n")


def test_a_list_of_nothing_says_so(nixoci: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nixoci.cli.delta.find_deltas", lambda *_, **__: [])
    assert nixoci("delta", "list", "web") == (
        0,
        "",
        "no deltas in the registry to web; `nixoci delta push` makes them\n",
    )
    assert nixoci("delta", "list", "web", "--json") == (0, "[]\n", "")


def test_the_list_finds_a_base_as_a_pull_does(
    nixoci: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another tool wrote its manifest, so the delta has the config in common with it and nothing else."""
    old = image_path(tmp_path / "store" / f"{'0' * 32}-web-0", small_tree())
    monkeypatch.setattr("nixoci.cli.delta.image_paths_like", lambda _: [old])
    text = render_manifest(
        subject=Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(b"new"), size=3),
        base=Digest.of(b"rewritten"),
        config=Descriptor(media_type=CONFIG_TYPE, digest=Digest.of(b"config"), size=6),
        stream=Descriptor(media_type=STREAM_TYPE, digest=Digest.of(b"stream"), size=600),
        stream_format=1,
    )
    found = FoundDelta(
        kind="oci-delta",
        reference=Reference.parse("registry.example/web:1").at(Digest.of(b"artifact")),
        manifest=ArtifactManifest.parse(text, what="x"),
        base=Digest.of(b"rewritten"),
        base_config=old.document.config.digest,
    )
    monkeypatch.setattr("nixoci.cli.delta.find_deltas", lambda *_, **__: [found])
    (row,) = nixoci("delta", "list", "web", "--platform=linux/amd64", "--json").json
    assert row["basePath"] == str(old.path)


def test_no_delta_is_fetched_for_a_lock_that_cannot_be_written(
    nixoci: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hash that it would pin is the result of the work; with `--dry-run` there is none."""
    image_path(tmp_path / "store/web", small_tree())
    monkeypatch.setattr("nixoci.cli.delta.usable_deltas", lambda *_: pytest.fail("it asks the registry"))
    monkeypatch.setattr("nixoci.output.os.access", lambda path, _: str(path) != str(tmp_path))
    done = nixoci("delta", "pull", "web", "--platform=linux/amd64")
    assert (done.code, done.err) == (1, f"error: {tmp_path}: Permission denied; {NO_ACCESS}\n")


def test_a_pull_knows_images_that_another_command_has_added_meanwhile(
    nixoci: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for the lock while `nixoci add` has it, and then pulls for what is in it."""
    answer = """#!/bin/sh
case $(cat) in
*zebra*) echo '{"web": "web-1", "local": "local-1", "zebra": "zebra-1"}' ;;
*) echo '{"web": "web-1", "local": "local-1"}' ;;
esac
"""
    install_program(monkeypatch, tmp_path, "nix-instantiate", answer)

    @contextmanager
    def wait_for_another(path: Path) -> Iterator[None]:
        with exclusive_access(path):
            more = lock(zebra=image("oci:layout:2", amd64=platform("zebra", "a")))
            write_lock(path, replace(more, images=read_lock(path).images | more.images))
            yield

    monkeypatch.setattr("nixoci.cli.delta.exclusive_access", wait_for_another)
    done = nixoci("delta", "pull", "--json")
    assert [each["name"] for each in done.json["failures"]] == ["local", "web", "web", "zebra"]
