"""Tests of tests.second_try, in a project of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.second_try import MOST
from tests.support.pages import ROOT
from tests.support.process import is_running

RACE = """
import pathlib
def test_race():
    tried = pathlib.Path(__file__).with_name("tried")
    assert tried.exists() or tried.touch()
def test_sound():
    pass
"""
LONG = """
import os, pathlib, pytest, time
@pytest.fixture(scope="module")
def machine():
    pathlib.Path("began.new").write_text(str(os.getpid()))
    pathlib.Path("began.new").rename("began")
    yield
    time.sleep(0.5)
    pathlib.Path("ended").touch()
def test_long(machine):
    time.sleep(60)
"""
FAULT = "def test_fault():\n    assert False\n"


def command(project: Path, files: dict[str, str]) -> dict[str, Any]:
    """Write a project, and return the arguments by which subprocess runs its tests."""
    (project / "pytest.ini").write_text("[pytest]\n")
    for name, text in files.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return {
        "args": [sys.executable, "-m", "tests.second_try", "-n", "2", "--dist=loadfile"],
        "cwd": project,
        "env": env | {"PYTHONPATH": str(ROOT)},
        "text": True,
    }


def run(project: Path, files: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(**command(project, files), capture_output=True, check=False)


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


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 2), (signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_pytest_ends_with_it(tmp_path: Path, number: int, code: int) -> None:
    options = command(tmp_path, {"tests/host/test_long.py": LONG})
    with subprocess.Popen(**options, stdout=subprocess.DEVNULL, start_new_session=True) as second_try:
        try:
            wait_until((tmp_path / "began").exists)
            second_try.send_signal(number)
            assert second_try.wait(60) == code
            tests = int((tmp_path / "began").read_text())
            wait_until(lambda: not is_running(tests))
            assert number != signal.SIGINT or (tmp_path / "ended").exists(), "what the tests made is put away"
        finally:
            second_try.kill()


def test_nothing_that_fails_is_one_run(tmp_path: Path) -> None:
    done = run(tmp_path, {"tests/host/test_sound.py": "def test_sound():\n    pass\n"})
    assert (done.returncode, "again" in done.stdout) == (0, False)
