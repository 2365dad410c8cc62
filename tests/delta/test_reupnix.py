"""The stream of reUpNix without Nix; tests/host has tests with its own programs."""

import io
from pathlib import Path

from nixoci.delta.reupnix import write
from nixoci.delta.summary import SendSummary, Totals
from tests.delta.trees import Spec, closure, store_path

OLD, NEW = store_path("app-1.0", "a"), store_path("app-1.1", "b")


def test_the_figures_are_those_of_the_stream(tmp_path: Path) -> None:
    same: dict[bytes, Spec] = {b"kept": bytes(5000), b"link": ("l", b"kept")}
    old = closure(tmp_path, {OLD: {**same, b"changed": b"old"}})
    new = closure(tmp_path, {NEW: {**same, b"changed": b"new one", b"again": b"new one"}})
    out = io.BytesIO()
    assert write(old, new, out) == SendSummary(
        paths=1,
        bases=1,
        nar_size=new.paths[NEW].nar_size,
        delta_size=len(out.getvalue()),
        by={"kept": Totals(count=2, size=5004, payload=0), "plain": Totals(count=1, size=7, payload=7)},
    )


def test_a_stream_without_changes_has_figures_too(tmp_path: Path) -> None:
    old = closure(tmp_path, {OLD: {b"file": b"content"}})
    out = io.BytesIO()
    summary = write(old, old, out)
    assert (summary.paths, summary.by, summary.delta_size) == (0, {}, len(out.getvalue()))
