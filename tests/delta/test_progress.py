"""Deltas show a total on a terminal, and end with all of it done."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from nixoci.delta import reupnix
from nixoci.delta.effort import Effort
from nixoci.delta.receive import receive_delta
from nixoci.delta.send import send_shown
from tests.delta.trees import Spec, closure, store_path
from tests.nix_store.fake import Fake
from tests.support.terminal import drawn_bars

if TYPE_CHECKING:
    from pathlib import Path

    from nixoci.delta.closure import Closure

OLD, NEW, KEPT = store_path("app-1.0", "a"), store_path("app-1.1", "b"), store_path("lib-3", "c")
TREE: Spec = {b"file": bytes(50_000), b"random": bytes(range(256)) * 999}
CHANGED: Spec = {b"file": bytes(49_999) + b"x", b"random": bytes(range(255)) * 9_999}


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")


@pytest.fixture
def nix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    return Fake(tmp_path, monkeypatch)


@pytest.fixture
def closures(nix: Fake, tmp_path: Path) -> tuple[Closure, Closure]:
    (tmp_path / "sender").mkdir()
    old = closure(nix.real, {OLD: TREE, KEPT: b"kept"})
    nix.know(*old.paths.values())
    closure(tmp_path / "sender", {KEPT: b"kept"})
    return old, closure(tmp_path / "sender", {NEW: CHANGED, KEPT: b"kept"})


@pytest.mark.parametrize("effort", Effort)
def test_sending_and_receiving(nix: Fake, closures: tuple[Closure, Closure], effort: Effort) -> None:
    out = io.BytesIO()
    bars = drawn_bars(lambda: send_shown(*closures, out, effort=effort, label="sending to ssh://edge"))
    assert {label: percent for label, (percent, _) in bars.items()} == {"comparing": 100, "sending to ssh://edge": 100}
    stream = out.getvalue()
    nix.set(WRITE="")
    for size, percent in ((len(stream), 100), (None, None)):
        bars = drawn_bars(
            lambda size=size: receive_delta(  # type: ignore[misc]
                io.BytesIO(stream).read, what="the delta", size=size, store=nix.store, dry_run=True
            )
        )
        assert bars["reading"][0] == percent
        assert bars["rebuilding"][0] == 100


def test_a_stream_of_reupnix(closures: tuple[Closure, Closure]) -> None:
    out = io.BytesIO()
    bars = drawn_bars(lambda: reupnix.write(*closures, out))
    assert bars["sending files"][0] == 100
