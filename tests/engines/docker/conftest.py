from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engines.docker.place import Place, Store

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture
def place(tmp_path: Path, store: Store) -> Place:
    made = Place(tmp_path / "machine", store.folder)
    made.make()
    return made
