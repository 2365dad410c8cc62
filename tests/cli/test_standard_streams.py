"""A `-` is standard input where a verb reads a file, and standard output where it writes one; `./-` is a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.container.samples import make_image
from tests.delta.trees import closure, store_path
from tests.image_store.trees import image_path, small_tree
from tests.nix_store.fake import Fake
from tests.support.layers import file, layer
from tests.support.layout import write_docker_archive, write_layout, write_oci_archive
from tests.units.samples import MKCOMPOSEFS, executable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cli.conftest import Result

    Run = Callable[..., Result]

LOCK = "nixoci.lock.json"
DEPLOYMENT = {"containers": {"web": {"image": "web", "backend": "bundle", "networks": ["host"]}}}


@pytest.fixture
def web(tmp_path: Path, nixoci: Run) -> None:
    """A lock of one image, and a deployment of it."""
    write_layout(tmp_path / "web", [layer(file(b"data", b"x"))], tag="1.0")
    assert nixoci("add", "oci:web:1.0", "--platform", "linux/amd64").code == 0
    (tmp_path / "deployment.json").write_text(json.dumps(DEPLOYMENT), encoding="ascii")


def piped(data: bytes, *arguments: str) -> bytes:
    """Run nixoci between two pipes, in the working directory, and return what it writes."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "nixoci", *arguments]
    return subprocess.run(command, input=data, env=environment, stdout=subprocess.PIPE, check=True).stdout


@contextmanager
def standard_input(path: Path) -> Iterator[None]:
    """Let a file be the standard input of this process."""
    with pytest.MonkeyPatch.context() as patched, path.open(encoding="latin-1") as opened:
        patched.setattr(sys, "stdin", opened)
        yield


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize(
    "arguments", [["list"], ["show", "web"], ["verify"], ["verify", "--offline"], ["outdated"], ["generate"]]
)
def test_a_lock_is_read_from_standard_input(tmp_path: Path, nixoci: Run, arguments: list[str]) -> None:
    with standard_input(tmp_path / LOCK):
        done = nixoci(*arguments, "--lock", "-")
    assert done.code == 0
    assert done == nixoci(*arguments)


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize(
    "arguments", [["add", "oci:web:1.0"], ["update"], ["remove", "web"], ["prefetch"], ["module", "deployment.json"]]
)
def test_a_lock_that_changes_or_has_a_path_is_a_file(tmp_path: Path, nixoci: Run, arguments: list[str]) -> None:
    before = set(tmp_path.iterdir())
    with standard_input(tmp_path / LOCK):
        done = nixoci(*arguments, "--lock", "-")
    assert done.code == 2
    assert "Invalid value for '--lock': the lock has to be a file here, not standard input" in done.err
    assert set(tmp_path.iterdir()) == before


@pytest.mark.usefixtures("web")
def test_a_file_that_is_called_so_is_a_file(tmp_path: Path, nixoci: Run) -> None:
    (tmp_path / LOCK).rename(tmp_path / "-")
    assert nixoci("list", "--lock", "./-", "--json").json[0]["name"] == "web"
    assert nixoci("generate", "--lock", "./-", "--output", "./-.nix").code == 0
    assert nixoci("remove", "web", "--lock", "./-").code == 0
    assert json.loads((tmp_path / "-").read_bytes()).get("images", {}) == {}


@pytest.mark.usefixtures("web")
def test_deployments_are_read_from_standard_input(tmp_path: Path, nixoci: Run) -> None:
    for arguments in (["generate", "--containers"], ["module"]):
        with standard_input(tmp_path / "deployment.json"):
            done = nixoci(*arguments, "-")
        assert done == nixoci(*arguments, "deployment.json")
        assert done.code == 0


@pytest.mark.usefixtures("web")
def test_output_goes_to_standard_output(tmp_path: Path, nixoci: Run) -> None:
    before = set(tmp_path.iterdir())
    for arguments in (["generate"], ["module", "deployment.json"]):
        assert nixoci(*arguments, "--output", "-") == nixoci(*arguments)
    assert set(tmp_path.iterdir()) == before
    assert "--check needs --output" in nixoci("generate", "--output", "-", "--check").err


@pytest.mark.usefixtures("web")
def test_standard_input_is_read_once(tmp_path: Path, nixoci: Run) -> None:
    with standard_input(tmp_path / LOCK):
        done = nixoci("generate", "--lock", "-", "--containers", "-")
    assert done.code == 2
    assert "`-` is given twice; one of the two has to be a file" in done.err


@pytest.mark.usefixtures("web")
def test_what_is_wrong_with_standard_input_is_said_of_it(tmp_path: Path, nixoci: Run) -> None:
    (tmp_path / "broken").write_text("{", encoding="ascii")
    for arguments in (["list", "--lock"], ["module"], ["generate", "--containers"]):
        with standard_input(tmp_path / "broken"):
            done = nixoci(*arguments, "-")
        assert (done.code, done.err.count("\n")) == (1, 1)
        assert done.err.startswith("error: standard input: ")


def test_units_and_bundles_are_made_from_standard_input(tmp_path: Path, nixoci: Run) -> None:
    make_image(tmp_path / "image", {"Cmd": ["run"]})
    document = DEPLOYMENT | {"images": {"web": str(tmp_path / "image")}}
    (tmp_path / "deployment.json").write_text(json.dumps(document), encoding="ascii")
    (tmp_path / "container.json").write_text('{"hostname": "somewhere"}', encoding="ascii")
    tools = ("--seccomp=unconfined", f"--mkcomposefs={executable(tmp_path / 'mkcomposefs', MKCOMPOSEFS)}", "--crun=/x")
    with standard_input(tmp_path / "deployment.json"):
        assert nixoci("units", "-", "out", *tools).code == 0
    assert (tmp_path / "out/lib/systemd/system/web.service").exists()
    with standard_input(tmp_path / "container.json"):
        assert nixoci("bundle", "image", "bundle", "--container", "-", "--seccomp=unconfined").code == 0
    assert json.loads((tmp_path / "bundle/config.json").read_bytes())["hostname"] == "somewhere"


def test_an_image_store_prints_one_of_its_files(tmp_path: Path, nixoci: Run) -> None:
    image_path(tmp_path / "image", small_tree())
    command = ("image-store", "store", "image", "--no-erofs")
    both = nixoci(*command, "--storage-conf", "-", "--drop-in", "-")
    json_too = nixoci(*command, "--drop-in", "-", "--json")
    assert (both.code, json_too.code) == (2, 2)
    assert not (tmp_path / "store").exists()
    done = nixoci(*command, "--storage-conf", "-", "--drop-in", "file")
    assert done.code == 0
    assert f'additionalimagestores = ["{tmp_path}/store"]' in done.out
    assert "additionalimagestores" in (tmp_path / "file").read_text("utf-8")


def test_a_delta_goes_through_pipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "attrs.json").write_text('{"from": [], "to": []}', encoding="ascii")
    delta = piped(b"", "send", "--graphs", "attrs.json")
    assert delta == piped(b"", "send", "--graphs", "attrs.json", "-o", "-") != b""
    nix = Fake(tmp_path, monkeypatch)
    for source in ([], ["-"]):
        received = json.loads(piped(delta, "receive", "--store", nix.store, "--json", *source))
        assert received["deltaSize"] == len(delta)


def test_a_delta_whose_reader_is_gone_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not pass for the pipe to Nix, which keeps the paths meanwhile."""
    old, new = store_path("app-1.0", "a"), store_path("app-1.1", "b")
    nix = Fake(tmp_path, monkeypatch)
    closures = [closure(nix.real, {path: {b"file": os.urandom(99)}}) for path in (old, new)]
    nix.know(*(made.paths[path] for made, path in zip(closures, (old, new), strict=True)))
    nix.set(WRITE=",--write")
    reader, writer = os.pipe()
    os.close(reader)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "nixoci", "send", "--from", old, "--to", new, "--store", nix.store]
    done = subprocess.run(command, env=environment, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "error: standard output: cannot be written: Broken pipe\n")


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
@pytest.mark.parametrize("content", [b"", b"x" * 700])
def test_what_is_no_archive_is_named_as_standard_input(kind: str, content: bytes) -> None:
    command = [sys.executable, "-m", "nixoci", "extract", f"{kind}:-", "image"]
    done = subprocess.run(command, input=content, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"error: standard input: ")


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
def test_an_archive_is_extracted_from_a_pipe(tmp_path: Path, nixoci: Run, kind: str) -> None:
    layers = [layer(file(b"data", b"x"))]
    if kind == "docker-archive":
        archive = write_docker_archive(tmp_path / "-", layers, tags=["docker.io/library/web:1.0"])
    else:
        write_layout(tmp_path / "web", layers, tag="1.0")
        archive = write_oci_archive(tmp_path / "-", tmp_path / "web")
    tag = ":docker.io/library/web:1.0" if kind == "docker-archive" else ":1.0"
    for number, name in enumerate(("", tag)):
        piped(archive.read_bytes(), "extract", f"{kind}:-{name}", f"image{number}", "--platform", "linux/amd64")
        assert (tmp_path / f"image{number}/rootfs/data").read_bytes() == b"x"
    document = json.loads((tmp_path / "image0/image.json").read_bytes())
    assert document["name"] == "image", "a pipe has no name"
    assert nixoci("extract", f"{kind}:./-", "from-file", "--platform", "linux/amd64").code == 0
