"""The command `./scripts/evaluate`: a quick run that is interrupted and goes on, and the statements that it tries."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from benchmarks.evaluation import storage
from benchmarks.evaluation.limits import PROBES, binds, measure_probes
from benchmarks.evaluation.model import Result, read
from benchmarks.evaluation.parts import Lab
from benchmarks.evaluation.run import unfinished
from tests.host.cache import cache_dir, locked
from tests.host.images import images
from tests.host.python import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.evaluation.statements import Probe

LONG = 1200.0
MARK = "measured before the interruption"
ROUNDS = 1


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """The folder of the steps of a quick run that only this test makes, because of its number of samples."""
    images()  # on a fresh machine they take minutes
    found = unfinished(storage.PART, quick=True, rounds=ROUNDS)
    with locked(cache_dir() / ".evaluation.lock"):  # another run has the same folder
        shutil.rmtree(found, ignore_errors=True)
        yield found
        shutil.rmtree(found, ignore_errors=True)


def evaluate(output: Path) -> subprocess.Popen[str]:
    """Start a quick evaluation of storage."""
    command = [sys.executable, "-m", "benchmarks.evaluation", "--quick", "--rounds", str(ROUNDS), "--output"]
    return subprocess.Popen([*command, output, "storage"], cwd=CHECKOUT, stderr=subprocess.PIPE, text=True)


def wait_for(file: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not file.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_interrupted_evaluation_goes_on(folder: Path, tmp_path: Path) -> None:
    first = folder / "images.jsonl"
    with evaluate(tmp_path) as killed:
        wait_for(first, killed)
        killed.kill()
    # by this the rows are known again
    first.write_text(first.read_text(encoding="utf-8").replace("skopeo inspect IMAGE", MARK), encoding="utf-8")

    with evaluate(tmp_path) as interrupted:
        assert interrupted.stderr is not None
        assert "storage: host\n" in iter(interrupted.stderr.readline, "")
        interrupted.send_signal(signal.SIGINT)
        _, said = interrupted.communicate(timeout=LONG)
    assert interrupted.returncode == 130
    assert said.splitlines()[-1] == "interrupted; the same command goes on after the last step that ended"
    assert not (tmp_path / "evaluation.json").exists()

    with evaluate(tmp_path) as whole:
        _, said = whole.communicate(timeout=LONG)
    assert whole.returncode == 0, said
    found = measured(tmp_path)
    assert found.quick
    assert {row.command for row in found.table("images")} == {MARK}
    assert {row.subject for row in found.table("host")} >= {"1 image", "2 images and their updates"}
    assert not folder.exists()


def measured(output: Path) -> Result:
    file = output / "evaluation.json"
    return read(file.read_text(encoding="utf-8"), what=str(file)).parts["storage"]


@pytest.fixture(scope="module")
def answers() -> dict[tuple[str, str], bool]:
    with Lab(binds=binds) as lab:
        return {(row.subject, row.variant): row.samples == (1.0,) for row in measure_probes(lab)}


@pytest.mark.parametrize(
    "probe", [probe for probe in PROBES if not probe.long], ids=lambda probe: f"{probe.about}: {probe.says}"
)
def test_a_statement_is_true(answers: dict[tuple[str, str], bool], probe: Probe) -> None:
    assert answers[probe.about, probe.says]
