"""All shell scripts that are shipped, generated or in the repository, checked by shellcheck."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from nixoci.units import systemd_service
from nixoci.units.health import _TRY
from nixoci.units.roots import _DROP_OF_USER, _KEEP, _KEEP_OF_USER
from nixoci.units.service import _END, _WAIT
from nixoci.units.start import start_script, stop_script
from tests.units.samples import MOUNTED, OUTPUT, bundled

_OF_SYSTEMD = (systemd_service._ENTER, systemd_service._END)

ROOT = Path(__file__).parents[1]
SCRIPTS = [file for file in (*ROOT.glob("nixoci/**/*.sh"), *ROOT.glob("scripts/*"), ROOT / ".ci/run") if file.is_file()]


def shellcheck(*arguments: str | Path, text: str | None = None) -> None:
    program = shutil.which("shellcheck")
    if program is None:
        pytest.skip("SHELL SCRIPTS ARE NOT CHECKED: shellcheck is not installed")
    done = subprocess.run([program, *arguments], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_of_the_repository(script: Path) -> None:
    shellcheck("--external-sources", f"--source-path={script.parent}", script)


@pytest.mark.parametrize("options", [{}, {"notify": "container", "networks": ["host"], "volumes": ["v:/v"]}], ids=str)
def test_scripts_of_bundles(tmp_path: Path, options: dict[str, object]) -> None:
    container, made = bundled(tmp_path, **options)
    for text in (
        start_script(container, made, OUTPUT, image=MOUNTED),
        stop_script(container, made, OUTPUT, image=MOUNTED),
    ):
        shellcheck("-", text=text)


@pytest.mark.parametrize("command", [_TRY, _WAIT, _END, _KEEP, _KEEP_OF_USER, _DROP_OF_USER, *_OF_SYSTEMD])
def test_commands_in_units(command: str) -> None:
    shellcheck("--shell=sh", "-", text=f"{command}\n")


def test_the_scripts_are_found() -> None:
    assert {"start.sh", "stop.sh", "environment.sh", "mount-program.sh", "setup.sh", "test", "run"} <= {
        file.name for file in SCRIPTS
    }


def test_the_environment_of_the_repository_has_what_its_commands_need() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (activate,) = re.findall(r"`(\. scripts/setup\.sh [^`]+)`", page)
    script = f"{activate} && python -c 'import tests.host.__main__' && pytest --version"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL], ids=lambda sent: sent.name)
def test_a_folder_is_removed_at_the_end_of_a_script_and_its_programs(tmp_path: Path, sent: signal.Signals) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").touch()
    script = '. scripts/setup.sh; remove_at_end "$1"; sleep 60 & echo started; wait'
    with subprocess.Popen(
        ["bash", "-c", script, "bash", str(folder)], cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"started\n"
        process.kill()
        process.wait()
        time.sleep(0.1)
        assert folder.exists()
        os.killpg(process.pid, sent)
    deadline = time.monotonic() + 60
    while folder.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
