"""Fixtures of tests on the host: one machine, its registries and the sample images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.host.images import INSIDE, images_dir
from tests.host.images import images as sample_images
from tests.host.machine import Machine
from tests.host.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.host.images import Pair


def pytest_configure() -> None:
    # engines are programs in Go, most of which run for a tenth of a second; by Go's default, which benchmarks leave as
    # it is, a sixth of that is the collection of garbage
    os.environ.setdefault("GOGC", "400")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = str(Path(__file__).parent)
    for item in items:
        # of thousands of items, and `Path.parents` is slow
        if str(item.path).startswith(f"{here}/"):
            item.add_marker(pytest.mark.host)
            if os.geteuid():
                item.add_marker(pytest.mark.skip(reason="the test host needs root"))


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    with Machine(binds={images_dir(): INSIDE}) as booted:
        yield booted


@pytest.fixture(scope="session")
def images() -> dict[str, Pair]:
    return sample_images()


@pytest.fixture(scope="session")
def registry(machine: Machine) -> Iterator[Registry]:
    with Registry(machine) as running:
        yield running


@pytest.fixture(scope="session")
def registry_with_auth(machine: Machine) -> Iterator[Registry]:
    with Registry(machine, port=5001, auth=True) as running:
        yield running
