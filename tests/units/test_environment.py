"""The environment files of bundles, read by their script as podman reads them (pkg/env/env.go)."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nixoci.bundle.build import build_bundle
from nixoci.container.model import Backend, Container
from nixoci.errors import ContainerError
from nixoci.units.directories import UnitsOutput
from nixoci.units.start import environment_script
from nixoci.units.tools import Tools
from tests.container.samples import make_image
from tests.units.samples import bundled

if TYPE_CHECKING:
    from pathlib import Path

UNIT = {"PATH": os.environ["PATH"], "OF_UNIT": 'a "b"\nc\\ ', "EMPTY_OF_UNIT": "", "name": "the unit's"}


def podmans(text: str, unit: dict[str, str]) -> dict[str, str]:
    """Return the variables of an environment file as podman's parser finds them, patterns left out."""
    found = {}
    for raw in text.split("\n"):
        line = raw.removesuffix("\r").lstrip(" \t")
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if equals:
            found[name] = value
        elif name in unit:
            found[name] = unit[name]
    return found


class Files:
    """A bundle with environment files, `one` and then `two`, and the script that reads them."""

    def __init__(self, path: Path, shell: str = "sh", **options: Any) -> None:
        self.shell = shell
        self.files = [path / "one", path / "t w'o"]
        for file in self.files:
            file.touch()
        container, bundle = bundled(path / "image", environmentFiles=list(map(str, self.files)), **options)
        output = UnitsOutput(out=path / "out", tools=Tools.find(sh=shell))
        folder = output.bundle("c")
        folder.mkdir(parents=True)
        bundle.write(folder)
        self.config = json.loads((folder / "config.json").read_text("utf-8"))
        self.script = path / "script"
        self.script.write_text(environment_script(container, output))

    def run(self) -> subprocess.CompletedProcess[str]:
        command = [self.shell, str(self.script)]
        return subprocess.run(command, env=UNIT, capture_output=True, text=True, check=False, encoding="utf-8")

    def variables(self) -> list[tuple[str, str]]:
        """Return the process's variables in order; runtimes take the last of several with one name."""
        done = self.run()
        assert (done.returncode, done.stderr) == (0, "")
        config = json.loads(done.stdout)
        entries: list[str] = config["process"].pop("env")
        rest = {**self.config, "process": {key: item for key, item in self.config["process"].items() if key != "env"}}
        assert config == rest
        return [(name, value) for name, _, value in (entry.partition("=") for entry in entries)]


PIECES = st.sampled_from(
    ['"', "\\", "=", "#", " ", "\t", "\x1b", "\x7f", "$(id)", "`id`", "'", "%s", "é", "\N{CAT}", "A"]
)
LINES = st.one_of(
    st.lists(PIECES, max_size=8).map("".join),
    st.tuples(st.sampled_from(["A", "B", " C", "D E", "é"]), st.lists(PIECES, max_size=6).map("".join)).map("=".join),
    st.sampled_from(
        ["OF_UNIT", "EMPTY_OF_UNIT", "name", "line", "PPID", "IFS", "NOT_THERE", "A=1\r", "\tB=2\r\r", "  "]
    ),
)
TEXTS = st.tuples(st.lists(LINES, max_size=6).map("\n".join), st.sampled_from(["", "\n"])).map("".join)


@pytest.fixture(scope="module", params=["sh", "bash"])
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("environment"), request.param)


def _is_refused(text: str) -> bool:
    lines = [line.removesuffix("\r").lstrip(" \t") for line in text.split("\n")]
    return any(line.startswith("=") or ("=" not in line and "*" in line) for line in lines)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(texts=st.tuples(TEXTS, TEXTS).filter(lambda texts: not any(map(_is_refused, texts))))
def test_the_variables_are_those_that_podman_finds(files: Files, texts: tuple[str, str]) -> None:
    for file, text in zip(files.files, texts, strict=True):
        file.write_text(text, encoding="utf-8", newline="")
    expected = {name: value for text in texts for name, value in podmans(text, UNIT).items()}
    found = dict(files.variables())
    assert {name: found.get(name) for name in expected} == expected
    for file in files.files:
        file.write_text("")
    assert {name: value for name, value in found.items() if name not in expected} == {
        name: value for name, value in files.variables() if name not in expected
    }


def test_a_file_wins_over_the_image_and_loses_to_the_container(tmp_path: Path) -> None:
    own = {"OWN": "of the container", "EMPTY": ""}
    files = Files(tmp_path, environment=own, notify="container", hostname="h")
    files.files[0].write_text("A=file\nOWN=file\nHOME=/file\nEMPTY=file\nNOTIFY_SOCKET=file\nTWICE=1\nPATH=/file\n")
    files.files[1].write_text("TWICE=2\n")
    found = dict(files.variables())
    assert found["A"] == "file"  # the image has A=1
    assert (found["HOME"], found["PATH"], found["TWICE"]) == ("/file", "/file", "2")
    assert {name: found[name] for name in own} == own
    assert found["NOTIFY_SOCKET"] == files.config["process"]["env"][-1].removeprefix("NOTIFY_SOCKET=")
    assert found["HOSTNAME"] == "h"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A=1\n\n=x\n", "line 3 of FILE has a value without a name"),
        ("OF_*\n", "line 1 of FILE: variables of the unit cannot be chosen by a pattern"),
        (None, "FILE cannot be read"),
    ],
)
def test_a_line_that_cannot_be_read_is_an_error(tmp_path: Path, text: str | None, message: str) -> None:
    files = Files(tmp_path)
    if text is None:
        files.files[1].unlink()
    else:
        files.files[1].write_text(text)
    done = files.run()
    assert done.returncode == 1
    expected = message.replace("FILE", str(files.files[1]))
    assert done.stderr.startswith(f"error: containers.c.environmentFiles[1]: {expected}")
    assert done.stderr.count("\n") == 1


def test_the_values_of_a_document_are_no_place_to_split_its_text(tmp_path: Path) -> None:
    files = Files(tmp_path, cmd=["=", "=="], labels={"x": '=",\n      "="'})
    files.files[0].write_text("X=1\n")
    assert dict(files.variables())["X"] == "1"


def test_a_bundle_alone_has_nobody_who_reads_the_files(tmp_path: Path) -> None:
    make_image(tmp_path / "image", {"Cmd": ["x"]})
    container = Container(image="i", backend=Backend.BUNDLE, networks=["none"], environment_files=["/e"])
    with pytest.raises(ContainerError, match=r"^containers\.c\.environmentFiles: "):
        build_bundle(container, tmp_path / "image", tmp_path / "out", name="c", profile=None)
