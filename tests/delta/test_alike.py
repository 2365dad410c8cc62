"""The bytes of a delta depend on nothing but the closures: it is a derivation's output, and is named by its hash.

`NIXOCI_NUMPY=DIR`, of `pip install --target DIR numpy==VERSION`, has it made by another numpy too.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.delta.alike import hashes

NOBODY = 65534
OTHER_NUMPY = os.environ.get("NIXOCI_NUMPY")


def elsewhere(*arguments: str, path: str = "", hash_seed: str = "1") -> Any:
    environment = os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": hash_seed, "TMPDIR": "/tmp"}  # noqa: S108
    command = [sys.executable, "-m", "tests.delta.alike", *arguments]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_another_process_makes_the_same_bytes() -> None:
    assert elsewhere()["deltas"] == elsewhere(hash_seed="2")["deltas"] == hashes()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_makes_the_same_bytes() -> None:
    made = elsewhere(str(NOBODY))
    assert (made["user"], made["deltas"]) == (NOBODY, hashes())


@pytest.mark.skipif(OTHER_NUMPY is None, reason="NIXOCI_NUMPY names no other numpy")
def test_another_numpy_makes_the_same_bytes() -> None:
    made = elsewhere(path=OTHER_NUMPY or "")
    assert made["numpy"] != np.__version__
    assert made["deltas"] == hashes()
