"""Fixtures and options of all tests."""

from __future__ import annotations

import gc
import signal

import pytest
from hypothesis import HealthCheck, settings

# how long an example takes, and how long to make one, depends on what else the machine does
settings.register_profile("nixoci", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# `./scripts/test --fast` runs often, each time with other examples; without it there are as many as hypothesis makes
settings.register_profile("fast", settings.get_profile("nixoci"), max_examples=30)
settings.load_profile("nixoci")

# a shell lets its background jobs ignore Ctrl-C, and nohup the end of the terminal. The programs that tests interrupt
# would inherit that; what is handled here, they do not.
signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # workers take files in this order: those of seconds fill the time until the last ones of minutes end
    items.sort(key=lambda item: item.get_closest_marker("host") is None)


def pytest_collection_finish() -> None:
    # each full collection of garbage would look at all tests again, which stay
    gc.freeze()
