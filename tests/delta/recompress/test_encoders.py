from __future__ import annotations

import dataclasses
import hashlib
import os
import zlib
from typing import TYPE_CHECKING

import pytest
from isal import isal_zlib

from nixoci.delta.recompress.encoders import ENCODERS, GZIP, LEVELS, ZLIB, Encoder, sample
from nixoci.errors import DeltaError, ProcessError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=lambda encoder: encoder.name)
@pytest.mark.parametrize("level", LEVELS)
def test_the_fingerprints_are_those_of_this_machine(encoder: Encoder, level: int) -> None:
    stream = encoder.deflate(sample(), level)
    assert zlib.decompress(stream, -15) == sample()
    assert hashlib.sha256(stream).hexdigest()[:16] == encoder.fingerprints[level - 1]
    encoder.require(level)
    assert encoder.usable(level)


def test_the_sample_tells_levels_apart() -> None:
    for encoder in ENCODERS.values():
        assert len(set(encoder.fingerprints)) >= 8


def test_another_encoder_is_refused_by_name() -> None:
    def deflate(data: bytes, _level: int) -> bytes:
        packer = isal_zlib.compressobj(2, zlib.DEFLATED, -15)
        return packer.compress(data) + packer.flush()

    other = dataclasses.replace(ZLIB, deflate=deflate)
    assert not other.usable(6)
    with pytest.raises(DeltaError, match=r"zlib of this machine .* --effort fast$"):
        other.require(6)


def test_a_missing_gzip_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    other = dataclasses.replace(GZIP, name="gzip elsewhere")
    assert not other.usable(9)
    with pytest.raises(ProcessError, match="gzip: program not found; install gzip"):
        other.require(9)


def test_options_of_the_environment_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    made = GZIP.deflate(sample(), 9)
    monkeypatch.setitem(os.environ, "GZIP", "-1")
    assert GZIP.deflate(sample(), 9) == made
