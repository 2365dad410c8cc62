"""Payloads that were made once and for all: both ends may have other versions of numpy and of nixoci."""

import pytest

from nixoci.delta.elf.codec import decode
from tests.delta.elf import plain
from tests.delta.elf.golden import FILES, files


@pytest.mark.parametrize("machine", FILES)
def test_it_is_read(machine: int) -> None:
    old, new = files(machine)
    payload = FILES[machine].read_bytes()
    assert decode(payload, old, len(new)) == new
    assert plain.apply(payload, old) == new
