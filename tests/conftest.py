"""Fixtures and options of all tests."""

from __future__ import annotations

import signal

import pytest
from hypothesis import settings

# how long an example takes depends on what else the machine does
settings.register_profile("nixoci", deadline=None)
settings.load_profile("nixoci")

# a shell lets its background jobs ignore Ctrl-C, and the programs that tests interrupt would inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # workers take files in this order: those of seconds fill the time until the last ones of minutes end
    items.sort(key=lambda item: item.get_closest_marker("host") is None)
