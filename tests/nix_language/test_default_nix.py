from __future__ import annotations

import shutil
import subprocess
from itertools import pairwise
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from nixoci.cli import cli
from nixoci.container.model import Container, Deployment
from nixoci.document import dump, structure, unstructure
from nixoci.errors import ContainerError
from nixoci.nix_language.default_nix import render_default_nix
from nixoci.nix_language.escape import value
from tests.nix_language.locks import image, lock, platform

if TYPE_CHECKING:
    from pathlib import Path

LOCK = lock(
    web=image(
        "docker.io/library/nginx:1.27",
        amd64=platform("web", "base", "nginx", value={"config": {"Labels": {"evil": '${"x"}";', "if": "\n"}}}),
    ),
    store=image("docker.io/library/redis:7", amd64=platform("store", "base", "redis")),
)
WEB = Deployment(
    containers={"web": Container(image="web", ports=["80:80"], environment={"evil": '${"x"}";', "if": "\n"})}
)
DEPLOYMENTS = [None, WEB]
SOURCES: list[dict[str, Any]] = [
    {},
    {"flake": "path:/src"},
    {"checkout": PurePosixPath("/src"), "lock_file": PurePosixPath("nixoci.lock.json")},
    {"checkout": PurePosixPath("../src")},
]
BESIDE = PurePosixPath("nixoci.lock.json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "nixoci.lock.json").write_text(dump(LOCK), encoding="utf-8")
    return tmp_path


def run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    command = ["generate", "--lock", str(folder / "nixoci.lock.json"), *arguments]
    done = CliRunner().invoke(cli, command)
    error = str(done.exception) if done.exception and done.exit_code == 1 else ""
    return done.exit_code, done.output, error


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_the_text_is_the_same_each_time_and_ends_with_one_newline(deployment: Deployment | None) -> None:
    text = render_default_nix(LOCK, deployment=deployment)
    assert text == render_default_nix(LOCK, deployment=deployment)
    assert text.endswith("}\n")
    assert not text.endswith("\n\n")


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_the_shape_is_rfc_166(deployment: Deployment | None) -> None:
    lines = render_default_nix(LOCK, deployment=deployment).splitlines()
    assert all(line == line.rstrip() for line in lines)
    assert not any("\t" in line for line in lines)
    assert all((len(line) - len(line.lstrip(" "))) % 2 == 0 for line in lines)
    assert not any(one == two == "" for one, two in pairwise(lines))
    assert lines[lines.index("in") - 1].endswith(";")


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_nothing_outside_of_the_file_is_imported(deployment: Deployment | None) -> None:
    code = [line.partition("#")[0] for line in render_default_nix(LOCK, deployment=deployment).splitlines()]
    found = [line.strip() for line in code if "import " in line or "<nixpkgs>" in line or "readFile" in line]
    assert found == ["import checkout { inherit system; }"]


def test_the_flake_is_a_string_like_any_other() -> None:
    assert '(builtins.getFlake "a\\"\\${b}")).packages' in render_default_nix(LOCK, flake='a"${b}')


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
@pytest.mark.parametrize("source", SOURCES)
def test_nixfmt_would_change_nothing(tmp_path: Path, deployment: Deployment | None, source: dict[str, Any]) -> None:
    nixfmt = shutil.which("nixfmt")
    if nixfmt is None:
        pytest.skip("nixfmt is not on PATH: the shape of generated Nix was NOT compared with it")
    file = tmp_path / "default.nix"
    file.write_text(render_default_nix(LOCK, deployment=deployment, **source), encoding="utf-8")
    done = subprocess.run([nixfmt, "--check", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_command_writes_to_stdout(folder: Path) -> None:
    assert run(folder) == (0, render_default_nix(LOCK), "")


def test_the_command_leaves_a_file_alone_that_is_up_to_date(folder: Path) -> None:
    file = folder / "default.nix"
    assert run(folder, "--output", str(file)) == (0, "", "")
    assert file.read_text(encoding="utf-8") == render_default_nix(LOCK, lock_file=BESIDE)
    before = file.stat()
    assert run(folder, "--output", str(file))[0] == 0
    after = file.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_check_tells_a_stale_file_and_does_not_touch_it(folder: Path) -> None:
    file = folder / "default.nix"
    code, _, error = run(folder, "--output", str(file), "--check")
    assert code == 1
    lock_file = folder / "nixoci.lock.json"
    again = f"run `nixoci generate --lock {lock_file} --output {file}`"
    assert error.startswith(f"{file}: ")
    assert error.endswith(again)
    assert not file.exists()
    run(folder, "--output", str(file))
    assert run(folder, "--output", str(file), "--check")[0] == 0
    file.write_text("{ }\n", encoding="utf-8")
    assert run(folder, "--output", str(file), "--check")[0] == 1
    assert file.read_text(encoding="utf-8") == "{ }\n"


def test_check_without_a_file_is_wrong_usage(folder: Path) -> None:
    code, output, _ = run(folder, "--check")
    assert code == 2
    assert "--check needs --output" in output


def test_a_lock_with_an_unknown_key_is_refused(folder: Path) -> None:
    (folder / "nixoci.lock.json").write_text('{"version": 1, "image": {}}', encoding="utf-8")
    code, _, error = run(folder)
    assert code == 1
    assert "unknown key 'image'" in error


def test_a_deployment_is_part_of_the_text() -> None:
    text = render_default_nix(LOCK, deployment=WEB)
    assert value(unstructure(WEB)).indented(2) in text
    assert text.count("makeUnits") == 2
    assert "makeUnits" not in render_default_nix(LOCK)


@pytest.mark.parametrize(
    ("deployment", "says"),
    [
        ({"containers": {"a": {"image": "x"}}}, "containers.a.image: no image 'x'; this document has store, web"),
        (
            {"containers": {"a": {"image": "web", "ports": ["1:1"]}, "b": {"image": "web", "ports": ["1:2"]}}},
            "containers.b.ports[0]: port 1/tcp of the host is taken by containers.a.ports[0]; publish another port",
        ),
        ({"images": {"web": "/nix/store/x"}}, "images: they come from the lock here; take them out, and pin them with"),
        ({"imageStore": "/nix/store/x"}, "imageStore: it is built from the images; take it out"),
    ],
)
def test_a_deployment_that_cannot_be_is_refused(deployment: dict[str, Any], says: str) -> None:
    with pytest.raises(ContainerError) as caught:
        render_default_nix(LOCK, deployment=structure(Deployment, deployment, what="d", strict=True))
    assert str(caught.value).startswith(says)


def test_the_command_takes_containers(folder: Path) -> None:
    containers, file = folder / "the containers.json", folder / "default.nix"
    containers.write_text(dump(WEB), encoding="utf-8")
    options = ["--containers", str(containers), "--output", str(file)]
    assert run(folder, *options) == (0, "", "")
    assert file.read_text(encoding="utf-8") == render_default_nix(LOCK, deployment=WEB, lock_file=BESIDE)
    assert run(folder, *options, "--check")[0] == 0
    file.write_text("{ }\n", encoding="utf-8")
    code, _, error = run(folder, *options, "--check")
    assert code == 1
    assert (
        f"run `nixoci generate --lock {folder}/nixoci.lock.json --containers '{containers}' --output {file}`" in error
    )


def checkout(folder: Path) -> Path:
    """Make what a checkout of nixoci is known by."""
    for name in ("default.nix", "flake.nix", "flake.lock", "nix/package.nix"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_a_checkout_is_looked_at_and_named_from_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = checkout(folder / "the nixoci")
    file = folder / "nix/default.nix"
    file.parent.mkdir()
    assert run(folder, "--output", str(file), "--nixoci", str(source))[0] == 0
    assert f'checkout ? "{source}"' in file.read_text(encoding="utf-8")
    monkeypatch.chdir(folder)
    assert run(folder, "--output", str(file), "--nixoci", "the nixoci")[0] == 0
    assert 'checkout ? ./. + "/../the nixoci"' in file.read_text(encoding="utf-8")
    code, _, error = run(folder, "--nixoci", str(file.parent))
    assert (code, error) == (
        1,
        f"--nixoci {file.parent}: has no nix/package.nix; give a checkout of nixoci, or use --flake",
    )


def test_a_flake_s_path_is_looked_at_and_absolute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout(folder / "source")
    monkeypatch.chdir(folder)
    for given in ("./source", "path:./source", str(folder / "source")):
        code, text, _ = run(folder, "--flake", given)
        assert code == 0
        assert f'builtins.getFlake "path:{folder}/source"' in text
    code, _, error = run(folder, "--flake", ".")
    assert (code, error) == (
        1,
        f"--flake .: {folder} has no flake.nix; give the directory of nixoci's flake, or its URL",
    )


@pytest.mark.parametrize("flake", ["", " ", "a b", "a\nb"])
def test_what_is_no_flake_s_url(folder: Path, flake: str) -> None:
    code, text, error = run(folder, "--flake", flake)
    assert (code, text) == (1, "")
    assert error == f"--flake {flake!r}: no URL of a flake, such as github:OWNER/REPO/REVISION"


@pytest.mark.parametrize(
    ("flake", "pinned"),
    [
        (f"github:owner/nixoci/{'a' * 40}", True),
        (f"git+https://host/nixoci?rev={'a' * 40}", True),
        ("github:owner/nixoci", False),
        ("github:owner/nixoci/main", False),
        ("flake:nixoci", False),
    ],
)
def test_a_flake_without_a_revision_is_warned_of(folder: Path, flake: str, *, pinned: bool) -> None:
    command = ["generate", "--lock", str(folder / "nixoci.lock.json"), "--flake", flake]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0
    assert ("names no revision" in done.stderr) is not pinned


def test_two_sources_of_tools_are_wrong_usage(folder: Path) -> None:
    assert run(folder, "--flake", "a", "--nixoci", str(folder))[0] == 2


def test_a_lock_elsewhere_is_not_looked_for(folder: Path) -> None:
    file = folder / "below/default.nix"
    file.parent.mkdir()
    assert run(folder, "--output", str(file))[0] == 0
    assert file.read_text(encoding="utf-8") == render_default_nix(LOCK)
