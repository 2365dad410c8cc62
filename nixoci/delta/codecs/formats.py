"""Patches of files of one format, by modules that are loaded at the first such payload: few deltas need them."""

from importlib import import_module

from nixoci.delta.codecs.model import Codec, Decode


def _decode_by(module: str) -> Decode:
    """Return a function that decodes as the function `decode` of a module does."""

    def decode(payload: bytes, old: bytes, limit: int) -> bytes:
        function: Decode = import_module(module).decode
        return function(payload, old, limit)

    return decode


CDS = Codec(number=6, name="cds", version=2, decode=_decode_by("nixoci.delta.cds.codec"))
"""Class data archives of the JVM, with their pointers moved (`nixoci.delta.cds`)."""

JIMAGE = Codec(number=7, name="jimage", version=2, decode=_decode_by("nixoci.delta.jimage.codec"))
"""The file of a Java runtime's modules, whose index is made again (`nixoci.delta.jimage`)."""
