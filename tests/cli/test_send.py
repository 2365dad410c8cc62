"""`nixoci send` and `receive` without Nix: their JSON output, and the file that they write."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from nixoci.delta.summary import SendSummary, Totals
from nixoci.document import unstructure
from tests.nix_store.fake import Fake

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from tests.cli.conftest import Result


def send_nothing(nixoci: Callable[..., Result], folder: Path, *arguments: str) -> Result:
    (folder / "attrs.json").write_text('{"from": [], "to": []}', encoding="ascii")
    return nixoci("send", "--graphs", "attrs.json", "-o", "delta", *arguments)


def test_the_summary_has_the_keys_of_other_json_and_zeros_too(nixoci: Callable[..., Result], tmp_path: Path) -> None:
    done = send_nothing(nixoci, tmp_path, "--json")
    size = (tmp_path / "delta").stat().st_size
    assert done.json == {"paths": 0, "bases": 0, "narSize": 0, "deltaSize": size, "by": {}}
    by = {"kept": Totals(count=2, size=0, payload=0)}
    summary = SendSummary(paths=0, bases=0, nar_size=0, delta_size=0, by=by)
    assert unstructure(summary)["by"] == {"kept": {"count": 2, "size": 0, "payload": 0}}


def test_the_result_of_receiving_has_the_keys_of_other_json_and_zeros_too(
    nixoci: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_nothing(nixoci, tmp_path)
    nix = Fake(tmp_path, monkeypatch)
    done = nixoci("receive", "delta", "--store", nix.store, "--json")
    size = (tmp_path / "delta").stat().st_size
    assert done.json == {"roots": [], "added": [], "present": [], "deltaSize": size, "narSize": 0}


def test_a_delta_that_cannot_be_made_leaves_the_file_before(nixoci: Callable[..., Result], tmp_path: Path) -> None:
    path = f"/nix/store/{'a' * 32}-missing"
    graph = [{"path": path, "narHash": f"sha256-{'A' * 43}=", "narSize": 120, "references": []}]
    (tmp_path / "attrs.json").write_text(json.dumps({"from": [], "to": graph}), encoding="ascii")
    (tmp_path / "delta").write_text("old", encoding="ascii")
    before = set(tmp_path.iterdir())
    done = nixoci("send", "--graphs", "attrs.json", "-o", "delta")
    assert done.code == 1
    assert path in done.err
    assert set(tmp_path.iterdir()) == before
    assert (tmp_path / "delta").read_text(encoding="ascii") == "old"


def test_a_delta_of_nothing_has_no_table(nixoci: Callable[..., Result], tmp_path: Path) -> None:
    done = send_nothing(nixoci, tmp_path)
    assert done.code == 0
    assert re.fullmatch(r"0 paths, 0 bytes, from 0 bases: a delta of [0-9]+ bytes\n", done.err)
