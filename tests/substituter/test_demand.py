"""A delta pays once enough of what it makes is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from nixoci.nix_store.hashes import to_sri
from nixoci.publish.index import PublishedDelta
from nixoci.substituter import demand as module
from nixoci.substituter.demand import Demand

if TYPE_CHECKING:
    import pytest


def delta(size: int, letter: bytes = b"a") -> PublishedDelta:
    return PublishedDelta(bases=[f"{'a' * 32}-x"], size=size, sha256=to_sri(letter * 32), download=1 << 40)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 50))), st.integers(0, 200))
def test_each_path_counts_once(asked: list[tuple[int, int]], size: int) -> None:
    demand = Demand()
    for path, of in asked:
        demand.note(delta(size), f"{path}", of)
        demand.note(delta(size, b"b"), "another", 1000)
    assert demand.pays(delta(size)) == (sum(dict(asked).values()) * 9 >= size * 10)


def test_what_was_asked_long_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    demand = Demand()
    demand.note(delta(90), "1", 60)
    now = 3000.0
    demand.note(delta(90), "2", 60)
    assert demand.pays(delta(90))
    now = 3700.0
    demand.note(delta(90, b"b"), "3", 1)
    assert not demand.pays(delta(90))
    assert demand.pays(delta(50))
    now = 9999.0
    demand.note(delta(90, b"b"), "3", 1)
    assert len(demand._asked) == len(demand._sizes) == 1
    assert not demand.pays(delta(1))


def test_what_is_counted_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 10)
    demand = Demand()
    for number in range(100):
        demand.note(delta(1), f"{number}", 1)
    assert len(demand._asked[delta(1).file]) == 10
    assert demand.pays(delta(9))
    assert not demand.pays(delta(10))
