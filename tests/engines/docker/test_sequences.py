"""Random declarations, and what users do with Docker between them: dockerd has what is declared, and all of its own."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nixoci.image_store.contents import read_image_store
from tests.engines.docker.dockerd import restart_ids
from tests.engines.docker.place import TREES, Place, declared_names, files

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.engines.docker.place import Store

LETTERS = st.sampled_from(sorted(TREES))
TAGS = st.sampled_from(["mine:1", "mine:2"])
GIVEN = st.sampled_from(["a:1", "b:1"])
"""Names that are declared at times."""


def test_any_sequence(store: Store, tmp_path_factory: pytest.TempPathFactory) -> None:
    class Host(Sequence):
        shared = store
        parent = tmp_path_factory.mktemp("sequences")

    check = settings(
        max_examples=40,
        stateful_step_count=15,
        suppress_health_check=list(HealthCheck),
        deadline=None,
        report_multiple_bugs=False,
    )
    Host.TestCase.settings = check
    Host.TestCase().runTest()


class Sequence(RuleBasedStateMachine):
    """A host. `own` are the images that nixoci must not touch: pulled or built, by id."""

    shared: Store
    parent: Path
    count = 0

    @initialize()
    def boot(self) -> None:
        Sequence.count += 1
        restart_ids()
        self.place = Place(self.parent / str(Sequence.count), self.shared.folder)
        self.place.make()
        self.place.make_docker()
        self.own: set[str] = set()
        self.tags: dict[str, str] = {}
        self.stolen: set[str] = set()
        self.containers: set[str] = set()

    def teardown(self) -> None:
        if hasattr(self, "place"):
            shutil.rmtree(self.place.folder)

    @rule(images=st.sets(st.tuples(LETTERS, st.sampled_from([1, 2])), max_size=4))
    def register(self, images: set[tuple[str, int]]) -> None:
        one_version = dict(sorted(images))
        store = self.shared.join(*sorted(one_version.items()))
        self.place.register(store)
        declared = read_image_store(store)
        dockerd = self.place.dockerd()
        names = declared_names(declared)
        for name, image in names.items():
            assert dockerd.lookup(name) == image
            assert image in dockerd.images
        # what is there is declared, the user's, or in use
        for image in set(dockerd.images) - set(names.values()) - self.own:
            same_tree = [other for other in dockerd.images if dockerd.tree(other) == dockerd.tree(image)]
            assert any(dockerd.users(other) for other in same_tree) or dockerd.names_of(image), image
        found = {name for found in dockerd.names.values() for name in found}
        assert {*names, *self.tags} <= found <= {*names, *self.tags, *self.stolen}
        before = files(self.place.folder)
        self.place.register(store)
        assert files(self.place.folder) == before

    @rule(letter=LETTERS, name=TAGS)
    def pull(self, letter: str, name: str) -> None:
        image = self.shared.image(letter)
        dockerd = self.place.dockerd()
        if image.record.id not in dockerd.images and image.layer.id not in dockerd.layers:
            self.own.add(image.record.id)
            dockerd.pull(image.config, name)
            self.tags[name] = image.record.id

    @rule(data=st.data(), name=TAGS)
    def tag(self, data: st.DataObject, name: str) -> None:
        dockerd = self.place.dockerd()
        if dockerd.images:
            image = data.draw(st.sampled_from(sorted(dockerd.images)))
            if dockerd.lookup(name) != image:
                dockerd.tag(image, name)
                self.tags[name] = image

    @rule(data=st.data(), name=GIVEN)
    def give_a_name_that_may_be_declared(self, data: st.DataObject, name: str) -> None:
        dockerd = self.place.dockerd()
        if dockerd.images:
            dockerd.tag(data.draw(st.sampled_from(sorted(dockerd.images))), name)
            self.stolen.add(name)

    @rule(data=st.data(), number=st.integers(0, 10**9))
    def commit(self, data: st.DataObject, number: int) -> None:
        dockerd = self.place.dockerd()
        if dockerd.images:
            image = data.draw(st.sampled_from(sorted(dockerd.images)))
            name = f"child:{number}"
            self.own.add(dockerd.commit(image, name))
            self.tags[name] = dockerd.lookup(name) or ""

    @rule(data=st.data())
    def create_container(self, data: st.DataObject) -> None:
        dockerd = self.place.dockerd()
        if dockerd.images:
            self.containers.add(dockerd.create_container(data.draw(st.sampled_from(sorted(dockerd.images)))))

    @precondition(lambda self: self.containers)
    @rule(data=st.data())
    def remove_container(self, data: st.DataObject) -> None:
        container = data.draw(st.sampled_from(sorted(self.containers)))
        self.place.dockerd().remove_container(container)
        self.containers.remove(container)

    @rule(data=st.data(), killed=st.booleans())
    def rmi(self, data: st.DataObject, *, killed: bool) -> None:
        dockerd = self.place.dockerd()
        free = [image for image in sorted(dockerd.images) if not dockerd.users(image)]
        if free:
            image = data.draw(st.sampled_from(free))
            dockerd.rmi(image, killed=killed)
            self._forget(image)

    @rule()
    def prune(self) -> None:
        dockerd = self.place.dockerd()
        for image in list(dockerd.images):
            self._forget(image)
        dockerd.prune()
        self.containers.clear()

    @rule()
    def restart(self) -> None:
        self.place.dockerd().stop()

    def _forget(self, image: str) -> None:
        self.own.discard(image)
        self.tags = {name: other for name, other in self.tags.items() if other != image}

    @invariant()
    def all_that_is_the_users_is_there(self) -> None:
        if not hasattr(self, "place"):
            return
        dockerd = self.place.dockerd()
        assert self.own <= set(dockerd.images)
        assert self.containers == set(dockerd.containers())
        linked = set()
        for container in self.containers:
            linked |= {tree for tree in dockerd.trees_of(container) if tree.startswith("/run/")}
        for image in dockerd.images:
            tree = dockerd.tree(image)
            linked |= {tree} if tree.startswith("/run/") else set()
        held = self.place.roots.held()
        assert {tree.rpartition("/")[2].rpartition("-")[0] for tree in linked} <= held
        for name, image in self.tags.items():
            assert dockerd.lookup(name) == image
