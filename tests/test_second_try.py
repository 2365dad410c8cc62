"""Tests of tests.second_try, in a project of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.second_try import MOST
from tests.support.pages import ROOT

RACE = """
import pathlib
def test_race():
    tried = pathlib.Path(__file__).with_name("tried")
    assert tried.exists() or tried.touch()
def test_sound():
    pass
"""
FAULT = "def test_fault():\n    assert False\n"


def run(project: Path, files: dict[str, str]) -> subprocess.CompletedProcess[str]:
    (project / "pytest.ini").write_text("[pytest]\n")
    for name, text in files.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    command = [sys.executable, "-m", "tests.second_try", "-n", "2", "--dist=loadfile"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        command, cwd=project, env=env | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )


def test_a_race_gets_a_second_try_and_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, {"tests/host/test_race.py": RACE})
    assert done.returncode == 0, done.stdout
    name = "tests/host/test_race.py::test_race"
    assert done.stdout.endswith(f"\nfailed beside others, passed alone; find the race:\n  {name}\n")
    assert "1 failed, 1 passed" in done.stdout
    assert "1 passed" in done.stdout


@pytest.mark.parametrize(
    ("files", "tries"),
    [
        pytest.param({"tests/host/test_fault.py": FAULT}, 2, id="a fault"),
        pytest.param({"tests/host/test_fault.py": FAULT, "tests/host/test_race.py": RACE}, 2, id="a fault and a race"),
        pytest.param({"tests/test_race.py": RACE}, 1, id="no test of real programs"),
        pytest.param({"tests/host/test_race.py": RACE, "tests/test_fault.py": FAULT}, 1, id="a fault elsewhere"),
        pytest.param({f"tests/host/test_{number}.py": FAULT for number in range(MOST + 1)}, 1, id="too many"),
        pytest.param({"tests/host/test_broken.py": "import nowhere"}, 1, id="not collected"),
    ],
)
def test_what_fails_is_no_race(tmp_path: Path, files: dict[str, str], tries: int) -> None:
    done = run(tmp_path, files)
    assert done.returncode != 0
    assert done.stdout.count("short test summary info") == tries
    assert "passed alone" not in done.stdout


def test_nothing_that_fails_is_one_run(tmp_path: Path) -> None:
    done = run(tmp_path, {"tests/host/test_sound.py": "def test_sound():\n    pass\n"})
    assert (done.returncode, "again" in done.stdout) == (0, False)
