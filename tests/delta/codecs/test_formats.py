import pytest

from nixoci.delta.codecs.choose import encode_large
from nixoci.delta.codecs.formats import CDS, JIMAGE
from nixoci.delta.codecs.hdiff import HDIFF
from nixoci.delta.codecs.model import Codec
from nixoci.delta.codecs.registry import decode
from nixoci.delta.codecs.source import Held, Rest
from nixoci.delta.effort import Effort
from nixoci.delta.recompress.codec import DEFLATE
from tests.delta.cds.samples import archive, names
from tests.delta.jimage.samples import modules, resources
from tests.delta.recompress.samples import text, zip_archive


@pytest.mark.parametrize(
    ("codec", "old", "new"),
    [
        (CDS, archive(names(300)), archive(names(300, more=9))),
        (JIMAGE, modules(resources(300)), modules(resources(300, grown=1))),
        (DEFLATE, zip_archive({"a": text(1, 9000)}), zip_archive({"a": text(2, 9000)})),
        (HDIFF, text(1, 9000), text(2, 9000)),
    ],
    ids=lambda value: value.name if isinstance(value, Codec) else "",
)
def test_large_contents_are_encoded_by_the_codec_of_their_format(codec: Codec, old: bytes, new: bytes) -> None:
    made = encode_large(Held(new), Held(old), Effort.DEFAULT, incompressible=False)
    assert made.codec is codec
    assert decode(codec.number, made.payload, old, len(new)) == new


def test_the_rest_of_a_source_is_what_follows() -> None:
    rest = Rest(Held(b"0123456789"), 4)
    assert (rest.size, rest.read(0, 3), rest.read(3, 99)) == (6, b"456", b"789")
    assert Rest(Held(b"01"), 4).size == 0
