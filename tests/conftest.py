"""Fixtures and options of all tests."""

from __future__ import annotations

import pytest
from hypothesis import settings

# how long an example takes depends on what else the machine does
settings.register_profile("nixoci", deadline=None)
settings.load_profile("nixoci")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # workers take files in this order: those of seconds fill the time until the last ones of minutes end
    items.sort(key=lambda item: item.get_closest_marker("host") is None)
