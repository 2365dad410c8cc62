"""`./scripts/demo`, run as it is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.host import demo

if TYPE_CHECKING:
    import pytest


def test_the_demo_serves_a_page_and_copies_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    assert demo.main([]) == 0
    printed = capfd.readouterr().out
    assert "Served by nginx" in printed
    grown = re.search(r"podman's storage grew by ([0-9.]+) kB", printed)
    assert grown is not None
    assert float(grown[1]) < 1024
