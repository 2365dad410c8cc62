from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from nixoci.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Result(NamedTuple):
    """The exit code of a command, and its output to a pipe."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def nixoci(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    """Run `nixoci ARGUMENTS` in `tmp_path`."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Result:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        out, err = capsys.readouterr()
        return Result(int(ended.value.code or 0), out, err)

    return run
