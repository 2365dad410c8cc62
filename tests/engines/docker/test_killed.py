"""A registration that is killed at any point: dockerd starts and is consistent, and a second run completes it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nixoci.container.places import mounted_image
from tests.engines.docker.place import Place, declared_names
from tests.host.python import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engines.docker.place import Store


def kill_everywhere(place: Place, store: Path) -> Iterator[Place]:
    """Give the machine as each kill left it, one after the other."""
    command = [sys.executable, "-m", "tests.engines.docker.killed", str(place.folder), str(store)]
    done = subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True, text=True)
    for point in range(int(done.stdout)):
        place.folder.with_name(f"{place.folder.name}-{point}").rename(place.folder)
        yield place
        shutil.rmtree(place.folder)


def paths(folder: Path) -> set[str]:
    """Return the paths of a data root, with the random ids of folders left out."""
    found = set()
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        if parts[0] == "overlay2" and len(parts) > 1 and parts[1] != "l":
            parts = ("overlay2", "CACHE", *parts[2:])
        found.add("/".join(parts))
    return found


@pytest.mark.parametrize(("before", "after"), [("", "ab"), ("ab", "bd"), ("abc", "b"), ("a", "")])
def test_a_kill_leaves_what_dockerd_starts_with(place: Place, store: Store, before: str, after: str) -> None:
    container = child = ""
    if before:
        place.register(store.of(before))
        dockerd = place.dockerd()
        dockerd.pull(store.image("d").config.replace(store.image("d").layer.id.encode(), b"e" * 64), "own:1")
        if before == "ab":
            container = dockerd.create_container(store.image("a").record.id)
            child = dockerd.commit(store.image("b").record.id, "child:1")
    images = {store.image(name).record.id: store.image(name) for name in before + after}
    final: dict[str, set[str]] = {}
    points = 0
    for killed in kill_everywhere(place, store.of(after)):
        points += 1
        dockerd = killed.dockerd()
        for name in (name for names in dockerd.names.values() for name in names):
            image = dockerd.lookup(name)
            assert image in dockerd.images, f"{name} names an image that dockerd does not have"
            if image in images:
                entry, _, layer = Path(dockerd.tree(image)).name.rpartition("-")
                assert layer == images[image].layer.id
                assert entry in killed.roots.held(), "a linked layer has no root"
        if container:
            assert dockerd.trees_of(container)[-1] == mounted_image(store.image("a").entry, store.image("a").layer.id)
        assert not child or child in dockerd.images
        assert not before or dockerd.lookup("own:1")

        killed.register(store.of(after))
        dockerd = killed.dockerd()
        for name, image in declared_names([store.image(letter) for letter in after]).items():
            assert dockerd.lookup(name) == image
        done = {"docker": paths(killed.root.path), "gcroots": paths(killed.folder / "gcroots")}
        done["list"] = {killed.registered.read_text()}
        final = final or done
        assert done == final
    assert points >= 20
