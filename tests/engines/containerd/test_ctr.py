"""Tables of ctr, as ctr 2.1.9 printed them, and tables of random rows."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.engines.containerd.ctr import Ctr, read_blobs, read_snapshots
from nixoci.errors import EngineError, ProcessError

A, B = (f"sha256:{letter * 64}" for letter in "ab")
REFERENCES = {"containerd.io/gc.ref.content.config": B, "containerd.io/gc.ref.content.l.0": A}


def text(labels: dict[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in labels.items()) or "-"


CONTENT = f"""\
DIGEST\t\t\t\t\t\t\t\t\tSIZE\tAGE\t\tLABELS
{A}\t1.024kB\t4 seconds\t{text(REFERENCES)}
{B}\t355B\tAbout a minute\t-
"""
SNAPSHOTS = f"""\
KEY {"":68}PARENT {"":65}KIND {"":5}
{A} {"":71} Committed{" "}
{B} {A} Committed{" "}
nixoci-1 {"":135}Active   {" "}
extract-12-xy {B} {A} Active   {" "}
box {"":68}{B} View     {" "}
"""


def test_tables_are_read() -> None:
    assert read_blobs(CONTENT) == {A: REFERENCES, B: {}}
    assert read_snapshots(SNAPSHOTS) == {A: "Committed", B: "Committed", "nixoci-1": "Active", "box": "View"}


def test_empty_tables_are_read() -> None:
    assert read_blobs("DIGEST\tSIZE\tAGE\tLABELS\n") == {}
    assert read_snapshots("KEY PARENT KIND \n") == {}


@pytest.mark.parametrize("other", ["\r", "\v", "\f", "\x1c", "\x85", "\u2028"])
def test_a_row_ends_at_a_line_feed_only(other: str) -> None:
    table = f"KEY PARENT KIND \nx{other}nixoci-1  Active \n{A}  Committed \n"
    assert "nixoci-1" not in read_snapshots(table)
    assert read_snapshots(table)[A] == "Committed"
    table = f"DIGEST\tSIZE\tAGE\tLABELS\n{A}\t1B\t1 second\ta=b{other}{B}\t1B\t1 second\t-\n"
    assert B not in read_blobs(table)


@pytest.mark.parametrize("table", ["", "REF DIGEST\n", "KEY PARENT KIND EXTRA\n", "\n"])
def test_other_columns_are_another_version(table: str) -> None:
    for read in (read_blobs, read_snapshots):
        with pytest.raises(EngineError, match=r"printed the columns .*, expected .*; nixoci does not know its version"):
            read(table)


def test_a_label_s_value_may_have_commas() -> None:
    label = "containerd.io/distribution.source.docker.io=library/small,library/other"
    (labels,) = read_blobs(f"DIGEST\tSIZE\tAGE\tLABELS\n{A}\t1B\t1 second\ta=b=c,{label},x=\n").values()
    expected = {"a": "b=c", "containerd.io/distribution.source.docker.io": "library/small,library/other", "x": ""}
    assert labels == expected


_word = st.text(alphabet=string.ascii_letters + string.digits + "._-/", min_size=1, max_size=20)
_hex = st.text(alphabet="0123456789abcdef", min_size=64, max_size=64)
_digest = _hex.map(lambda digits: f"sha256:{digits}")
_labels = st.dictionaries(_word, _word, max_size=3)


@given(st.dictionaries(_digest, _labels, max_size=5), st.integers(1, 8))
def test_every_table_that_ctr_prints_is_read(blobs: dict[str, dict[str, str]], gap: int) -> None:
    space = " " * gap
    lines = [f"{digest}\t1.2kB\t2 hours\t\t{text(labels)}\n" for digest, labels in blobs.items()]
    assert read_blobs("".join(["DIGEST\tSIZE\tAGE\tLABELS\n", *lines])) == blobs
    kinds = dict(zip(blobs, ["Committed", "Active", "View"] * 2, strict=False))
    shown = [f"{digest}{space}{space}{kind}{space}\n" for digest, kind in kinds.items()]
    assert read_snapshots("".join(["KEY PARENT KIND \n", *shown])) == kinds


@pytest.mark.parametrize(
    ("code", "said", "shown"),
    [
        (1, "ctr: cannot access socket /run/x", "; start containerd, or name its socket with --address"),
        (1, "ctr: dial unix /run/x: connect: permission denied", "; run this as root"),
        (None, "crt: program not found; install containerd", ""),
    ],
)
def test_containerd_that_does_not_answer_is_named(
    monkeypatch: pytest.MonkeyPatch, code: int | None, said: str, shown: str
) -> None:
    def refuse(*_: object, **__: object) -> bytes:
        raise ProcessError(said, code=code, stderr=said)

    monkeypatch.setattr("nixoci.engines.containerd.ctr.run", refuse)
    with pytest.raises(EngineError, match=f"^{said}{shown}$"):
        Ctr(namespace="default").snapshots_directory()


def test_containerd_without_the_snapshotter_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = "ID:  overlayfs\nError:\n   Code: Unknown\n   Message: no root for you\n"
    monkeypatch.setattr("nixoci.engines.containerd.ctr.run", lambda *_, **__: failed.encode())
    with pytest.raises(EngineError, match="has no working snapshotter overlayfs"):
        Ctr(namespace="default").snapshots_directory()


def test_the_client_and_its_socket_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def note(argv: list[str], **_: object) -> bytes:
        commands.append(argv)
        return b""

    monkeypatch.setattr("nixoci.engines.containerd.ctr.run", note)
    Ctr(namespace="k8s.io", program="/opt/ctr", address="/run/k3s.sock").remove_images(["a", "b"])
    common = ["/opt/ctr", "--address", "/run/k3s.sock", "--namespace", "k8s.io"]
    assert commands == [[*common, "images", "rm", "--sync", "a", "b"]]
