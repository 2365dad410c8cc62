from __future__ import annotations

import io
import os
import pwd
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nixoci.errors import NO_ACCESS
from nixoci.lock.file import read_lock
from tests.support.layout import tar_stream, write_layout
from tests.support.skopeo import install_skopeo

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Result

    Run = Callable[..., Result]

LOCK = "nixoci.lock.json"
FILE = """\
services:
  web:
    image: registry.example/app:1.0
    depends_on: [db]
    scale: 2
  db:
    image: registry.example/app:1.0
"""
WARNING = (
    "warning: compose.yaml:5: services.web.scale: one container is made instead of 2; declare each with its own name\n"
)
COMMAND = "nixoci add registry.example/app:1.0 --name app"


@pytest.fixture(autouse=True)
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a project in the working directory, and a registry with its image."""
    write_layout(tmp_path / "layout", [tar_stream({"a": b"x"})], tag="1.0", config={"config": {"Cmd": ["serve"]}})
    install_skopeo(monkeypatch, tmp_path, tmp_path / "layout", tags=["1.0"])
    (tmp_path / "compose.yaml").write_text(FILE, encoding="utf-8")
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", "shop")


def test_the_document_is_printed_with_the_commands_that_pin_its_images(tmp_path: Path, nixoci: Run) -> None:
    done = nixoci("import")
    assert done.code == 0
    assert done.json["containers"].keys() == {"shop-web", "shop-db"}
    assert done.json["containers"]["shop-web"]["dependsOn"] == ["shop-db"]
    assert done.err == f"{WARNING}run: {COMMAND}\n"
    assert not (tmp_path / LOCK).exists()


def test_images_are_added_and_the_module_reads(tmp_path: Path, nixoci: Run) -> None:
    done = nixoci("import", "--add", "--format", "nix", "--output", "shop.nix")
    assert (done.code, done.out) == (0, "")
    assert done.err == f"{WARNING}app: added: registry.example/app:1.0\n"
    assert list(read_lock(tmp_path / LOCK).images) == ["app"]
    text = (tmp_path / "shop.nix").read_text(encoding="utf-8")
    assert "lock = ./nixoci.lock.json;" in text
    assert "shop-web = {" in text
    assert nixoci("import", "--format", "nix").out == text
    assert nixoci("import").err == WARNING


def test_the_document_is_one_that_other_verbs_read(tmp_path: Path, nixoci: Run) -> None:
    assert nixoci("import", "--add", "--output", "shop.json").code == 0
    module = nixoci("module", "shop.json")
    assert (module.code, module.out) == (0, nixoci("import", "--format", "nix").out)
    assert nixoci("generate", "--containers", "shop.json").code == 0
    assert (tmp_path / LOCK).exists()


def test_an_output_that_cannot_be_written_leaves_the_lock_as_it_was(tmp_path: Path, nixoci: Run) -> None:
    done = nixoci("import", "--add", "--output", "nowhere/shop.json")
    assert (done.code, done.err.splitlines()[-1]) == (
        1,
        f"error: {tmp_path}/nowhere: No such file or directory; check the path",
    )
    assert not (tmp_path / LOCK).exists()


def test_a_lock_that_cannot_be_written_leaves_the_output_as_it_was(
    tmp_path: Path, nixoci: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "closed").mkdir()
    # root may write everywhere
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != tmp_path / "closed")
    done = nixoci("import", "--add", "--output", "shop.json", "--lock", f"closed/{LOCK}")
    assert (done.code, done.err.splitlines()[-1]) == (1, f"error: {tmp_path}/closed: Permission denied; {NO_ACCESS}")
    assert not (tmp_path / "shop.json").exists()
    # it changes nothing there
    assert nixoci("import", "--output", "shop.json", "--lock", f"closed/{LOCK}").code == 0


def test_a_user_without_a_home(tmp_path: Path, nixoci: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_: int) -> None:
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert nixoci("import").code == 0
    text = 'services: {app: {image: "registry.example/app:1.0", volumes: ["~/data:/data"]}}'
    (tmp_path / "compose.yaml").write_text(text, encoding="utf-8")
    done = nixoci("import")
    says = "error: compose.yaml:1: '~/data': the user has no home directory; set HOME, or write the path in full\n"
    assert (done.code, done.out, done.err) == (1, "", says)


def test_a_module_needs_its_images_in_the_lock(nixoci: Run) -> None:
    done = nixoci("import", "--format", "nix", "--project-name", "x")
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-1] == (
        "error: nixoci.lock.json: has no image app, which the module needs; run again with --add"
    )


def test_a_dry_run_writes_nothing(tmp_path: Path, nixoci: Run) -> None:
    done = nixoci("import", "--add", "--dry-run", "--output", "shop.json")
    assert "app: would be added: registry.example/app:1.0\n" in done.err
    assert done.json["containers"]
    assert not (tmp_path / LOCK).exists()
    assert not (tmp_path / "shop.json").exists()


def test_strict_fails_before_anything_is_written(tmp_path: Path, nixoci: Run) -> None:
    done = nixoci("import", "--add", "--strict", "--output", "shop.json")
    assert done.code == 1
    assert done.err == f"{WARNING}error: compose.yaml: 1 part is left out; change them, or drop --strict\n"
    assert not (tmp_path / LOCK).exists()
    assert not (tmp_path / "shop.json").exists()
    (tmp_path / "compose.yaml").write_text(FILE.replace("scale: 2", "scale: 1"), encoding="utf-8")
    assert nixoci("import", "--strict").code == 0


def test_the_report_is_for_programs(nixoci: Run) -> None:
    done = nixoci("import", "--json")
    assert done.err == WARNING
    assert nixoci("import", "--json", "--strict").json == done.json
    assert done.json["project"] == "shop"
    assert done.json["images"] == [{"name": "app", "reference": "registry.example/app:1.0"}]
    assert done.json["commands"] == [COMMAND]
    assert done.json["leftOut"] == [
        {
            "file": "compose.yaml",
            "line": 5,
            "path": "services.web.scale",
            "message": "one container is made instead of 2; declare each with its own name",
        }
    ]
    assert done.json["deployment"]["containers"].keys() == {"shop-web", "shop-db"}


def test_files_merge_and_standard_input_is_one(nixoci: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    more = io.TextIOWrapper(io.BytesIO(b"services: {web: {scale: 1, command: now}}"))
    monkeypatch.setattr(sys, "stdin", more)
    done = nixoci("import", "compose.yaml", "-", "--strict")
    assert done.json["containers"]["shop-web"]["cmd"] == ["now"]


def test_the_file_of_a_directory_is_overridden_by_the_one_beside_it(tmp_path: Path, nixoci: Run) -> None:
    (tmp_path / "compose.override.yaml").write_text("services: {web: {scale: 1, user: '5'}}", encoding="utf-8")
    assert nixoci("import", "--strict").json["containers"]["shop-web"]["user"] == "5"
    assert "user" not in nixoci("import", "compose.yaml").json["containers"]["shop-web"]


def test_the_files_of_a_variable_take_the_place_of_the_usual_ones(
    tmp_path: Path, nixoci: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.yaml").write_text("services: {a: {image: 'registry.example/app:1.0'}}\n", encoding="utf-8")
    (tmp_path / "b.yaml").write_text("services: {b: {image: 'registry.example/app:${TAG}'}}\n", encoding="utf-8")
    (tmp_path / ".env").write_text("COMPOSE_FILE=a.yaml:b.yaml\nTAG=1.0\n", encoding="utf-8")
    assert nixoci("import").json["containers"].keys() == {"shop-a", "shop-b"}
    assert nixoci("import", "compose.yaml").json["containers"].keys() == {"shop-web", "shop-db"}
    (tmp_path / "other.env").write_text("TAG=1.0\n", encoding="utf-8")
    monkeypatch.setenv("COMPOSE_ENV_FILES", "other.env")
    monkeypatch.setenv("COMPOSE_PATH_SEPARATOR", "|")
    monkeypatch.setenv("COMPOSE_FILE", "b.yaml|a.yaml")
    assert nixoci("import").json["containers"].keys() == {"shop-a", "shop-b"}


def test_variables_and_profiles_are_chosen(tmp_path: Path, nixoci: Run) -> None:
    text = FILE.replace("app:1.0", "app:${TAG}").replace("scale: 2", "profiles: [extra]")
    (tmp_path / "compose.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "tag.env").write_text("TAG=2.0\n", encoding="utf-8")
    done = nixoci("import", "--env-file", "tag.env", "--json")
    assert done.json["deployment"]["containers"].keys() == {"shop-db"}
    assert done.json["images"][0]["reference"] == "registry.example/app:2.0"
    done = nixoci("import", "--env-file", "tag.env", "--profile", "extra", "--json")
    assert done.json["deployment"]["containers"].keys() == {"shop-web", "shop-db"}
    assert "profile" not in done.err


def test_a_profile_that_no_service_has_is_told(tmp_path: Path, nixoci: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "compose.yaml").write_text(FILE.replace("scale: 2", "profiles: [extra, all]"), encoding="utf-8")
    monkeypatch.setenv("COMPOSE_PROFILES", "extra,al")
    done = nixoci("import", "--profile", "extar", "--profile", "*", "--json")
    assert done.code == 0
    assert [line for line in done.err.splitlines() if "profile" in line] == [
        "warning: profile 'al': no service has it; choose one of all, extra",
        "warning: profile 'extar': no service has it; choose one of all, extra",
    ]
    (tmp_path / "compose.yaml").write_text(FILE, encoding="utf-8")
    done = nixoci("import", "--profile", "al", "--json")
    assert "warning: profile 'al': no service has it; drop it, for none has a profile\n" in done.err


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("services: [\n", "error: compose.yaml:2: not valid YAML: "),
        ("services:\n  web:\n    ports: [x]\n    image: a\n", "error: compose.yaml:3: services.web.ports: "),
        (
            "services:\n  a:\n    image: a\n    ports: ['1:1', '1:2']\n",
            "error: compose.yaml:4: services.a.ports: port",
        ),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, nixoci: Run, text: str, error: str) -> None:
    (tmp_path / "compose.yaml").write_text(text, encoding="utf-8")
    done = nixoci("import")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(error)
    assert done.err.count("\n") == 1


def test_a_file_that_is_missing_is_named(tmp_path: Path, nixoci: Run) -> None:
    (tmp_path / "compose.yaml").unlink()
    assert nixoci("import").err.startswith("error: compose.yaml: no such file here")
    assert nixoci("import", "other.yaml").err.startswith("error: other.yaml: ")
