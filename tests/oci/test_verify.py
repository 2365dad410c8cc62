from __future__ import annotations

import io
from dataclasses import dataclass
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.errors import BlobError
from nixoci.oci.digest import Digest
from nixoci.oci.media_types import OCI_CONFIG
from nixoci.oci.model import Descriptor
from nixoci.oci.verify import MAX_DOCUMENT, read_verified


@dataclass(frozen=True)
class Bytes:
    data: bytes

    def open_blob(self, descriptor: Descriptor) -> BinaryIO:  # noqa: ARG002 - has one blob
        return io.BytesIO(self.data)


def descriptor(data: bytes, *, size: int | None = None, algorithm: str = "sha256") -> Descriptor:
    return Descriptor(
        media_type=OCI_CONFIG, digest=Digest.of(data, algorithm), size=len(data) if size is None else size
    )


@given(st.binary(max_size=100), st.sampled_from(["sha256", "sha512"]))
def test_a_blob_that_fits_is_read(data: bytes, algorithm: str) -> None:
    assert read_verified(Bytes(data), descriptor(data, algorithm=algorithm), what="config").text == data


@given(st.binary(min_size=1, max_size=100), st.data())
def test_any_flipped_bit_is_found(data: bytes, draw: st.DataObject) -> None:
    bit = draw.draw(st.integers(0, 8 * len(data) - 1))
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BlobError, match="the blob is damaged, fetch it again"):
        read_verified(Bytes(bytes(damaged)), descriptor(data), what="config")


NAME = f"config {Digest.of(b'four')}"


@pytest.mark.parametrize(
    ("data", "size", "message"),
    [
        (
            b"thr",
            4,
            "the blob has 3 bytes, its descriptor says 4; the blob is damaged, fetch it again",
        ),
        (
            b"four!",
            4,
            "the blob has more than 4 bytes, its descriptor says 4; the blob is damaged, fetch it again",
        ),
        (
            b"five",
            4,
            f"the blob's digest is {Digest.of(b'five')}; the blob is damaged, fetch it again",
        ),
        (b"four", MAX_DOCUMENT + 1, "its descriptor says 4194305 bytes, expected 0 to 4194304; do not use it"),
        (b"four", -1, "its descriptor says -1 bytes, expected 0 to 4194304; do not use it"),
    ],
)
def test_what_does_not_fit_is_refused(data: bytes, size: int, message: str) -> None:
    with pytest.raises(BlobError) as caught:
        read_verified(Bytes(data), descriptor(b"four", size=size), what="config")
    assert str(caught.value) == f"{NAME}: {message}"
