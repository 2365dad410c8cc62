import errno
import tempfile
from pathlib import Path

import pytest

from nixoci.delta.spool import need_space, spool
from nixoci.errors import DeltaError


def test_a_receiver_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with spool() as first, spool() as second:
        assert set(tmp_path.iterdir()) == {first, second}
        (first / "file").touch()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line_that_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with (
        pytest.raises(DeltaError, match=f"^{tmp_path}: No space left .*, or set TMPDIR to another directory$"),
        spool(),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(PermissionError), spool():
        raise PermissionError


def test_space_is_asked_for_before_it_is_used(tmp_path: Path) -> None:
    need_space(tmp_path, 1, "it")
    with pytest.raises(
        DeltaError, match=f"^it: needs {1 << 60} bytes in {tmp_path.parent}, which has [0-9]+; set TMPDIR"
    ):
        need_space(tmp_path, 1 << 60, "it")
