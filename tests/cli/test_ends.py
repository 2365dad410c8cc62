"""The ways in which a command ends: stdout that cannot be written, a reader that is gone, and SIGTERM."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.image_store.trees import image_path, small_tree
from tests.support.layout import tar_stream, write_layout

NIXOCI = [sys.executable, "-m", "nixoci"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_layout(tmp_path / "web", [tar_stream({"a": b"x" * 2000})], tag="1.0")
    add = [*NIXOCI, "add", "oci:web:1.0", "--platform", "linux/amd64"]
    subprocess.run(add, cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [["list"], ["list", "--json"], ["show", "web"], ["generate"], ["verify"], ["--help"], ["completion", "bash"]],
)
def test_a_full_disk_is_one_line(folder: Path, arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*NIXOCI, *arguments], cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60
        )
    errors = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]
    assert errors == ["error: output: No space left on device"]
    assert done.returncode == 1


def test_a_reader_that_is_gone_is_no_error(folder: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*NIXOCI, "list"], cwd=folder, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.stderr == ""


def test_sigterm_leaves_nothing_half_written(tmp_path: Path) -> None:
    image = image_path(tmp_path / "image", small_tree())
    slow = tmp_path / "slow"
    slow.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nexec sleep 30\n", encoding="utf-8")
    slow.chmod(0o755)
    command = [*NIXOCI, "image-store", str(tmp_path / "out"), str(image.path), f"--mkcomposefs={slow}"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    try:
        _, error = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 143
    assert error == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image", "slow", "started"]
