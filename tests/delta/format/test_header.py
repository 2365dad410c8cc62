import base64

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nixoci.delta.format.header import pack_header, read_header
from nixoci.delta.format.model import Base, Header
from nixoci.errors import DeltaError
from nixoci.nix_store.content_address import addressed_path, nar_address
from nixoci.nix_store.hashes import to_nix32, to_sri
from nixoci.nix_store.path import STORE_DIR, PathInfo, store_path_name
from tests.delta.trees import store_path

hash_parts = st.binary(min_size=20, max_size=20).map(lambda raw: to_nix32(raw).decode())
nar_hashes = st.binary(min_size=32, max_size=32).map(to_sri)
store_names = st.sampled_from(["app", "app-1.0", "app-1.1", "app-1.10", "a+b?=._", "x" * 211]) | st.text(
    "09AZaz+-._?=", min_size=1, max_size=30
)
paths = st.builds(lambda part, name: f"{STORE_DIR}/{part}-{name}", hash_parts, store_names)
signatures = st.builds(
    lambda key, raw: f"{key}:{base64.b64encode(raw).decode()}",
    st.sampled_from(["cache-1", "key", ""]),
    st.binary(min_size=64, max_size=64) | st.binary(max_size=70),
) | st.sampled_from(["key:", "key:not base64".replace(" ", "!"), ":", "key:ä", "a:b:c"])


def added(nar_hash: str, name: str, references: tuple[str, ...] = (), *, to_itself: bool = False) -> str:
    return addressed_path(nar_address(nar_hash), name=name, references=references, to_itself=to_itself)


@st.composite
def headers(draw: st.DrawFn) -> Header:
    bases = []
    for path in draw(st.lists(paths, max_size=4, unique=True)):
        nar_hash = draw(nar_hashes)
        bases.append(
            Base(path=added(nar_hash, store_path_name(path)) if draw(st.booleans()) else path, nar_hash=nar_hash)
        )
    known = [base.path for base in bases]
    assume(len(known) == len(set(known)))
    infos: list[PathInfo] = []
    for drawn in draw(st.lists(paths, max_size=4, unique=True)):
        path, nar_hash, address = drawn, draw(nar_hashes), None
        references = tuple(sorted(draw(st.sets(st.sampled_from(known))))) if known else ()
        match draw(st.sampled_from(["input", "nar", "text", "itself"])):
            case "nar":
                address = nar_address(nar_hash)
                path = added(nar_hash, store_path_name(drawn), references)
            case "text":
                address = "text:sha256:" + "0" * 52
                path = addressed_path(address, name=store_path_name(drawn), references=references, to_itself=False)
            case "itself":
                references = tuple(sorted((*references, path)))
            case _:
                pass
        assume(path not in known)
        info = PathInfo(
            path=path,
            nar_hash=nar_hash,
            nar_size=draw(st.integers(min_value=1, max_value=(1 << 63) - 1)),
            references=references,
            deriver=draw(st.none() | paths),
            signatures=tuple(draw(st.lists(signatures, max_size=2))),
            content_address=address,
        )
        infos.append(info)
        known.append(path)
    roots = draw(st.lists(st.sampled_from(known), max_size=3)) if known else []
    numbers = st.none() | st.integers(min_value=0, max_value=len(bases) - 1) if bases else st.none()
    predecessors = draw(st.tuples(*[numbers for _ in infos]))
    return Header(roots=tuple(roots), bases=tuple(bases), paths=tuple(infos), predecessors=predecessors)


@given(headers())
@settings(max_examples=60)
def test_a_header_is_read_as_it_was_written(header: Header) -> None:
    assert read_header(pack_header(header), "it") == header


def test_what_is_known_is_not_told() -> None:
    hashes = [to_sri(bytes([number]) * 32) for number in (1, 2)]
    old, new = added(hashes[0], "app-1.0"), added(hashes[1], "app-1.1")
    info = PathInfo(path=new, nar_hash=hashes[1], nar_size=100, content_address=nar_address(hashes[1]))
    base = Base(path=old, nar_hash=hashes[0])
    header = Header(roots=(new,), bases=(base,), paths=(info,), predecessors=(0,))
    assert len(pack_header(header)) == 1 + 1 + 7 + 32 + 1 + 1 + 1 + (1 + 1 + 1) + 32 + 1 + 1
    assert read_header(pack_header(header), "it") == header


def test_a_path_that_is_not_of_its_address_is_not_sent() -> None:
    nar_hash = to_sri(bytes(32))
    info = PathInfo(path=store_path("a", "b"), nar_hash=nar_hash, nar_size=1, content_address="text:sha256:" + "0" * 52)
    header = Header(roots=(info.path,), bases=(), paths=(info,), predecessors=(None,))
    with pytest.raises(DeltaError, match="not the path of its content address"):
        pack_header(header)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_header_or_refused(data: bytes) -> None:
    refusal, header = "", Header(roots=(), bases=(), paths=(), predecessors=())
    try:
        header = read_header(data, "it")
    except DeltaError as error:
        refusal = str(error)
    assert "\n" not in refusal
    assert all(store_path_name(info.path) for info in header.paths)
