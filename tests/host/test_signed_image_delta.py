"""Deltas of a repository that a key has signed: they make the image path of a lock that has no hash yet."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from nixoci.image_delta.artifact import NAR_HASHES, SIGNATURES
from nixoci.oci.digest import Digest
from nixoci.oci.media_types import OCI_INDEX
from nixoci.oci.referrers import referrers_tag
from tests.host.image_versions import (
    PLATFORM,
    Deployment,
    artifact,
    fallback,
    put,
    subject,
    unpin,
    updated_deployment,
    write_versions,
)
from tests.host.machine import Machine
from tests.host.process import FETCH
from tests.host.registry import Registry
from tests.host.test_lock import layer_requests

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY, OTHER = "/root/publisher", "/root/other"
NAME = "publisher-1"


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A machine that trusts one of two keys; it has a layout with two versions of an image."""
    with Machine() as booted:
        write_versions(booted.root)
        for key, name in ((KEY, NAME), (OTHER, "other-1")):
            booted.run(["nix-store", "--generate-binary-cache-key", name, key, f"{key}.public"])
        booted.run(["sh", "-c", f'echo "extra-trusted-public-keys = $(cat {KEY}.public)" >> /etc/nix/nix.conf'])
        booted.run(["systemctl", "restart", "nix-daemon.service"])
        yield booted


@pytest.fixture(scope="module")
def registry(machine: Machine) -> Iterator[Registry]:
    with Registry(machine) as running:
        yield running


@pytest.fixture
def updated(
    machine: Machine, registry: Registry, request: pytest.FixtureRequest
) -> Iterator[tuple[Deployment, str, str]]:
    with updated_deployment(machine, registry, request.node.name) as made:
        yield made


def push(web: Deployment, key: str = KEY) -> dict[str, Any]:
    """Push a delta, and leave the lock as `nixoci update` does."""
    (pushed,) = json.loads(web.run("delta", "push", "web", "--key-file", key, "--json"))
    unpin(web)
    found: dict[str, Any] = pushed
    return found


def refused(web: Deployment, *, said: str) -> None:
    """Check that no delta makes the image path, and that layers make it then."""
    done = web.machine.run(["nixoci", "delta", "pull"], cwd=web.folder, check=False)
    assert done.returncode == 1
    assert said in done.stderr
    assert "narHash" not in web.locked()["platforms"][PLATFORM]
    (pinned,) = json.loads(web.run("prefetch", "--json"))["narHashes"]
    assert "deltaSize" not in pinned


@pytest.mark.parametrize("user", [None, "alice"])
def test_an_update_needs_no_lock_of_another_machine(updated: tuple[Deployment, str, str], user: str | None) -> None:
    web, _, new = updated
    pushed = push(web)
    assert pushed["signedBy"] == [NAME]
    (listed,) = json.loads(web.run("delta", "list", "--json"))
    assert listed == pushed
    web.forget(new)
    if user is not None:
        web.machine.run(["sh", "-c", f"chmod 755 /root; chown --recursive {user} {web.folder}"])
    web.registry.clear()
    done = web.machine.run(["nixoci", "prefetch", "--json"], cwd=web.folder, user=user)
    (pinned,) = json.loads(done.stdout)["narHashes"]
    assert (pinned["path"], pinned["deltaSize"]) == (new, pushed["size"])
    assert layer_requests(web.registry.requests(), web.locked()) == []
    assert web.locked()["platforms"][PLATFORM]["narHash"]["hash"] == pinned["narHash"]
    web.machine.run(["nix-store", "--verify-path", new])


def test_the_key_has_to_be_trusted(updated: tuple[Deployment, str, str]) -> None:
    web, _, new = updated
    assert push(web, OTHER)["signedBy"] == ["other-1"]
    web.forget(new)
    refused(web, said="a signature by one of nix.conf's trusted-public-keys")


@pytest.mark.parametrize("keys", [(OTHER, KEY), (KEY, OTHER)], ids=["the second", "the first"])
def test_one_of_two_keys_that_signed_the_same_suffices(
    updated: tuple[Deployment, str, str], keys: tuple[str, str]
) -> None:
    """Such as after a change of the key, when the delta is pushed again."""
    web, _, new = updated
    for key in keys:
        web.run("delta", "push", "web", "--key-file", key)
    unpin(web)
    web.forget(new)
    assert len(json.loads(web.run("delta", "list", "--json"))) == len(keys)
    assert new in web.run("delta", "pull", "--json")


def test_a_signature_is_of_one_image_and_its_tree(updated: tuple[Deployment, str, str]) -> None:
    """Whoever may write to the repository has signatures of other images, and may change all that is not signed."""
    web, _, new = updated
    pushed = push(web)
    web.forget(new)
    sound = artifact(web, pushed["digest"])
    (listed,) = fallback(web)
    hashes = sound["annotations"][NAR_HASHES].split()
    config = artifact_config(web, sound) | {"warnings": ["this was written by somebody else"]}
    forgeries: list[dict[str, Any]] = [
        {"annotations": sound["annotations"] | {NAR_HASHES: " ".join(reversed(hashes))}},
        {"annotations": sound["annotations"] | {SIGNATURES: f"{NAME}:{'A' * 86}=="}},
        {"config": sound["config"] | upload(web, json.dumps(config))},
    ]
    for forged in forgeries:
        manifest = sound | forged
        entry = listed | put(web, manifest) | {"annotations": manifest["annotations"]}
        put(web, {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}, at=referrers_tag(subject(web)))
        refused(web, said="a signature by one of nix.conf's trusted-public-keys")
        unpin(web)
        web.forget(new)


def test_nothing_else_than_what_is_signed_is_added(updated: tuple[Deployment, str, str]) -> None:
    """The base has another tree, here because a file of it was damaged."""
    web, old, new = updated
    push(web)
    web.forget(new)
    before = web.machine.run(["ls", "-A", "/nix/store"]).stdout
    damaged = f"{old}/rootfs/etc/group"
    web.machine.run(["chmod", "u+w", damaged])
    web.machine.run(["tee", damaged], input="x" * (1 << 18))
    done = web.machine.run(["nixoci", "delta", "pull"], cwd=web.folder, check=False)
    assert done.returncode == 1
    assert "it makes rootfs with narHash sha256-" in done.stderr
    assert web.machine.run(["ls", "-A", "/nix/store"]).stdout == before
    refused(web, said="it makes rootfs with narHash sha256-")
    web.machine.run(["nix-store", "--verify-path", new])


def test_a_file_without_a_key(updated: tuple[Deployment, str, str]) -> None:
    web, _, _ = updated
    for content, said in (("no key", "error: key: Nix cannot sign with it: "), (None, "error: key: ")):
        web.machine.run(["tee", f"{web.folder}/key"], input=content) if content else web.machine.run(
            ["rm", f"{web.folder}/key"]
        )
        done = web.machine.run(["nixoci", "delta", "push", "web", "--key-file", "key"], cwd=web.folder, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith(said)
        assert done.stderr.count("\n") == 1


def artifact_config(web: Deployment, manifest: dict[str, Any]) -> dict[str, Any]:
    host, _, repository = web.reference.rpartition(":")[0].partition("/")
    url = f"http://{host}/v2/{repository}/blobs/{manifest['config']['digest']}"
    config: dict[str, Any] = json.loads(web.machine.run([*FETCH, url]).stdout)
    return config


def upload(web: Deployment, text: str) -> dict[str, Any]:
    """Put a blob into the repository, and return its digest and size."""
    host, _, repository = web.reference.rpartition(":")[0].partition("/")
    digest = str(Digest.of(text.encode()))
    script = (
        'at=$(curl --silent --fail --output /dev/null --request POST --write-out "%header{location}"'
        f' "http://{host}/v2/{repository}/blobs/uploads/");'
        f' curl --silent --fail --request PUT --header "Content-Type: application/octet-stream" --data-binary @-'
        f' "$at&digest={digest}"'
    )
    web.machine.run(["sh", "-ec", script], input=text)
    return {"digest": digest, "size": len(text.encode())}
