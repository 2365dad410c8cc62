"""Images in a data root as dockerd reads them, by a model of it; tests/host/test_docker.py has the real one."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nixoci.container.places import mounted_image
from nixoci.engines.change import Change
from nixoci.engines.docker.register import register_in_docker, release_roots
from nixoci.engines.docker.registered import read_registered, write_registered
from nixoci.errors import DocumentError, StoreError, UnsupportedVersionError
from nixoci.image_store.build import build_image_store
from nixoci.image_store.contents import read_image_store
from tests.engines.docker.place import Place, Store, declared_names, files, write_large_store
from tests.image_store.trees import image_path, small_tree

if TYPE_CHECKING:
    from pathlib import Path

    from nixoci.engines.docker.register import Outcome


def changes(done: Outcome) -> dict[str, Change]:
    """Return the fate of each image by its id."""
    return {image.id: image.change for image in done.images}


def held(place: Place) -> set[str]:
    return place.roots.held()


def check_declared(place: Place, store: Path) -> None:
    """Check that a dockerd which starts now has the images of a store, by their names, on their mounted trees."""
    dockerd = place.dockerd()
    images = read_image_store(store)
    for name, identifier in declared_names(images).items():
        assert dockerd.lookup(name) == identifier
    for image in images:
        assert dockerd.images[image.record.id] == json.loads(image.config)
        assert dockerd.tree(image.record.id) == mounted_image(image.entry, image.layer.id)
        layer = dockerd.layers[image.layer.id]
        assert (layer["diff"], layer["size"]) == (f"sha256:{image.layer.id}", str(image.layer.diff_size))
        record = place.root.layers / image.layer.id
        assert (record / "tar-split.json.gz").read_bytes() == image.tar_split.read_bytes()


def test_a_new_data_root_has_the_images_and_they_have_roots(place: Place, store: Store) -> None:
    done = place.register(store.of("abc"))
    assert set(changes(done).values()) == {Change.ADDED}
    assert not done.restart
    check_declared(place, store.of("abc"))
    # c has the tree of a, whose entry holds it
    assert held(place) == {"x-a-1", "x-b-1"}
    assert {image.entry for image in done.images} == {str(store.entries[name, 1]) for name in "ab"}


def test_only_root_may_look_into_a_new_data_root(place: Place, store: Store) -> None:
    place.register(store.of("a"))
    for path in [place.root.path, *place.root.path.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            assert path.stat().st_mode & 0o7 == 0, path
    assert place.root.repositories.stat().st_mode & 0o777 == 0o600


def test_a_second_run_writes_nothing(place: Place, store: Store) -> None:
    place.register(store.of("abcd"))
    before = files(place.folder)
    again = place.register(store.of("abcd"))
    assert set(changes(again).values()) == {Change.KEPT}
    assert {name.change for name in again.names} == {Change.KEPT}
    assert files(place.folder) == before


def test_an_image_that_is_no_longer_declared_goes_with_all_that_was_written(place: Place, store: Store) -> None:
    place.register(store.of("abcd"))
    place.register(store.of("b"))
    only_b = set(files(place.root.path))
    dockerd = place.dockerd()
    assert set(dockerd.images) == {store.image("b").record.id}
    assert {name for names in dockerd.names.values() for name in names} == set(declared_names([store.image("b")]))
    assert held(place) == {"x-b-1"}
    assert len(list(place.root.overlay.iterdir())) == 2
    done = place.register(store.of(""))
    assert changes(done) == {store.image("b").record.id: Change.REMOVED}
    assert held(place) == set()
    assert len(list(place.root.overlay.iterdir())) == 1
    assert len(only_b) > len(set(files(place.root.path)))
    assert json.loads(place.root.repositories.read_text()) == {"Repositories": {}}
    assert place.register(store.of("")).images == []


def test_of_two_images_with_one_layer_each_can_go(place: Place, store: Store) -> None:
    place.register(store.of("ac"))
    place.register(store.of("c"))
    check_declared(place, store.of("c"))
    assert set(place.dockerd().images) == {store.image("c").record.id}


def test_dry_run_says_what_would_change_and_writes_nothing(place: Place, store: Store) -> None:
    done = place.register(store.of("a"), dry_run=True)
    assert set(changes(done).values()) == {Change.ADDED}
    assert not place.root.path.exists()
    assert not place.registered.parent.exists()
    assert held(place) == set()


def test_nothing_is_written_under_a_running_dockerd(place: Place, store: Store) -> None:
    place.register(store.of("a"))
    before = files(place.folder)
    done = place.register(store.of("b"), running=True)
    assert done.restart
    assert changes(done) == {store.image("b").record.id: Change.ADDED, store.image("a").record.id: Change.REMOVED}
    assert files(place.folder) == before
    assert place.register(store.of("b"), running=True, dry_run=True).restart
    assert not place.register(store.of("a"), running=True).restart


def test_a_dockerd_that_starts_meanwhile_sees_no_name_change(place: Place, store: Store) -> None:

    place.register(store.of("a"))
    answers = iter([False, True])
    with pytest.raises(StoreError, match="dockerd was started meanwhile; stop it and run again"):
        register_in_docker(
            store.of("b"),
            place.root,
            is_running=lambda: next(answers),
            roots=place.roots,
            registered=place.registered,
        )
    assert set(place.dockerd().names) == {"a"}
    place.register(store.of("b"))
    check_declared(place, store.of("b"))


def test_the_same_image_from_another_entry_needs_no_restart(place: Place, store: Store) -> None:
    place.register(store.of("a"))
    cache = place.dockerd().layers[store.image("a").layer.id]["cache-id"]
    done = place.register(store.of("a", 2), running=True)
    assert not done.restart
    assert set(changes(done).values()) == {Change.KEPT}
    assert held(place) == {"x-a-2"}
    assert place.dockerd().layers[store.image("a").layer.id]["cache-id"] == cache
    check_declared(place, store.of("a", 2))


def test_a_container_keeps_the_tree_and_the_entry_that_it_was_made_with(place: Place, store: Store) -> None:
    place.register(store.of("a"))
    dockerd = place.dockerd()
    container = dockerd.create_container(dockerd.commit(store.image("a").record.id, "child:1"))
    place.register(store.of("a", 2))
    assert held(place) == {"x-a-1"}
    check_declared(place, store.of("a", 1))
    assert place.dockerd().trees_of(container)[-1] == mounted_image(store.entries["a", 1], store.image("a").layer.id)
    dockerd.remove_container(container)
    place.register(store.of("a", 2))
    assert held(place) == {"x-a-2"}
    check_declared(place, store.of("a", 2))


def test_what_docker_has_removed_comes_back(place: Place, store: Store) -> None:
    place.register(store.of("ab"))
    place.dockerd().rmi(store.image("a").record.id)
    done = place.register(store.of("ab"))
    assert changes(done) == {store.image("a").record.id: Change.REPAIRED, store.image("b").record.id: Change.KEPT}
    check_declared(place, store.of("ab"))
    place.dockerd().prune()
    place.register(store.of("ab"))
    check_declared(place, store.of("ab"))


def test_an_image_that_comes_back_survives_the_rest_of_a_removal(place: Place, store: Store) -> None:
    place.register(store.of("a"))
    place.dockerd().rmi(store.image("a").record.id, killed=True)
    place.register(store.of("a"))
    place.dockerd().stop()
    check_declared(place, store.of("a"))


def test_an_old_image_stays_for_a_container_until_that_is_removed(place: Place, store: Store) -> None:
    place.register(store.of("ab"))
    dockerd, image = place.dockerd(), store.image("a").record.id
    container = dockerd.create_container(image)
    done = place.register(store.of("b"))
    (used,) = (each for each in done.images if each.id == image)
    assert (used.change, used.used_by) == (Change.USED, f"container c-{container[:6]}")
    assert held(place) == {"x-a-1", "x-b-1"}
    dockerd = place.dockerd()
    assert dockerd.trees_of(container)[-1] == mounted_image(store.image("a").entry, store.image("a").layer.id)
    assert dockerd.names_of(image) == set()
    dockerd.remove_container(container)
    assert changes(place.register(store.of("b")))[image] is Change.REMOVED
    assert held(place) == {"x-b-1"}


def test_an_old_image_stays_for_what_is_built_on_it(place: Place, store: Store) -> None:
    place.register(store.of("a"))
    image = store.image("a").record.id
    child = place.dockerd().commit(image, "mine:1")
    (used,) = place.register(store.of("")).images
    assert (used.change, used.used_by) == (Change.USED, f"image {child[:12]}")
    container = place.dockerd().create_container(child)
    dockerd = place.dockerd()
    dockerd.images.pop(child)
    (place.root.contents / child).unlink()
    assert place.register(store.of("")).images[0].used_by == f"container c-{container[:6]}"
    assert place.dockerd().trees_of(container)[-1] == mounted_image(store.image("a").entry, store.image("a").layer.id)


def test_an_old_image_stays_for_a_layer_without_an_image(place: Place, store: Store) -> None:
    place.register(store.of("a"))
    image = store.image("a")
    place.dockerd().create_layer(image.layer.id, chain="5" * 64, diff="6" * 64)
    (used,) = place.register(store.of("")).images
    assert (used.change, used.used_by) == (Change.USED, f"layer {'5' * 12}")


def test_the_rest_of_a_removal_goes_although_nothing_else_changes(place: Place, store: Store) -> None:
    place.register(store.of("ab"))
    place.dockerd().rmi(store.image("a").record.id, killed=True)
    place.register(store.of("b"), running=True)
    assert len(list(place.root.overlay.iterdir())) == 3
    place.register(store.of("b"))
    assert {path.name for path in place.root.overlay.iterdir()} == {
        "l",
        place.dockerd().layers[store.image("b").layer.id]["cache-id"],
    }
    assert held(place) == {"x-b-1"}


def test_a_name_that_a_killed_run_did_not_move_is_still_nixocis(place: Place, store: Store) -> None:
    place.register(store.of("ad"))
    (known,) = read_registered(place.registered)
    moved = {**known.names, "a:1": store.image("d").record.id}
    write_registered(place.registered, replace(known, names=moved))
    place.register(store.of(""))
    assert place.dockerd().names == {}


def test_a_layer_that_dockerd_began_to_remove_keeps_nothing(place: Place, store: Store) -> None:
    place.register(store.of("a"))
    dockerd = place.dockerd()
    dockerd.rmi(dockerd.commit(store.image("a").record.id, "child:1"), killed=True)
    assert changes(place.register(store.of(""))) == {store.image("a").record.id: Change.REMOVED}


def test_an_old_image_stays_for_a_tag_of_the_user(place: Place, store: Store) -> None:
    place.register(store.of("a"))
    image = store.image("a").record.id
    place.dockerd().tag(image, "mine:latest")
    (used,) = place.register(store.of("")).images
    assert (used.change, used.used_by) == (Change.USED, "tag mine:latest")
    assert place.dockerd().names_of(image) == {"mine:latest"}
    place.dockerd().untag("mine:latest")
    assert place.register(store.of("")).images[0].change is Change.REMOVED


def test_an_image_of_dockers_own_is_not_touched(place: Place, store: Store) -> None:
    place.make_docker()
    dockerd = place.dockerd()
    dockerd.pull(store.image("a").config, "a:1")
    dockerd.pull(store.image("b").config, "b:mine")
    before = files(place.root.path)
    done = place.register(store.of("ab"))
    assert set(changes(done).values()) == {Change.FOREIGN}
    written = {path for path, what in files(place.root.path).items() if before.get(path) != what}
    assert written == {"image/overlay2", "image/overlay2/repositories.json", "overlay2"}
    assert place.dockerd().lookup("b:1") == store.image("b").record.id
    assert held(place) == set()
    place.register(store.of(""))
    dockerd = place.dockerd()
    assert set(dockerd.images) == {store.image("a").record.id, store.image("b").record.id}
    # a name that Docker gave stays, one that nixoci gave does not
    assert {name for name in ("a:1", "b:1", "b:mine") if dockerd.lookup(name)} == {"a:1", "b:mine"}


def test_a_declared_name_wins_over_another_image(place: Place, store: Store) -> None:
    place.make_docker()
    place.dockerd().pull(store.image("d").config, "a:1")
    done = place.register(store.of("a"))
    (moved,) = (name for name in done.names if name.change is Change.MOVED)
    assert (moved.name, moved.previous) == ("a:1", store.image("d").record.id)
    dockerd = place.dockerd()
    assert dockerd.lookup("a:1") == store.image("a").record.id
    assert store.image("d").record.id in dockerd.images


def test_a_name_that_the_user_has_given_to_another_image_is_not_removed(place: Place, store: Store) -> None:
    place.register(store.of("a"))
    dockerd = place.dockerd()
    dockerd.pull(store.image("d").config, "d:x")
    dockerd.tag(store.image("d").record.id, "a:1")
    place.register(store.of(""))
    assert place.dockerd().lookup("a:1") == store.image("d").record.id


def test_other_names_and_repositories_stay_as_they_are(place: Place, store: Store) -> None:
    place.make_docker()
    place.dockerd().pull(store.image("d").config, "localhost:5000/d:x")
    place.dockerd().pull(store.image("d").config, f"d@sha256:{'5' * 64}")
    place.register(store.of("a"))
    place.register(store.of(""))
    assert place.dockerd().names_of(store.image("d").record.id) == {"localhost:5000/d:x", f"d@sha256:{'5' * 64}"}


def test_a_lost_list_costs_nothing_of_what_is_declared(place: Place, store: Store) -> None:
    place.register(store.of("ab"))
    place.registered.unlink()
    assert set(changes(place.register(store.of("a"))).values()) == {Change.KEPT}
    # b is not known to be nixoci's any more, and stays with its root
    assert held(place) == {"x-a-1", "x-b-1"}
    check_declared(place, store.of("ab"))


@pytest.mark.parametrize(
    "damage",
    [
        "image/overlay2/layerdb/sha256/LAYER/cache-id",
        "image/overlay2/layerdb/sha256/LAYER/size",
        "overlay2/CACHE/link",
        "overlay2/CACHE/committed",
        "overlay2/CACHE/diff",
        "overlay2/l/LINK",
        "image/overlay2/imagedb/content/sha256/IMAGE",
    ],
)
@pytest.mark.parametrize("how", ["gone", "empty"])
def test_what_a_power_cut_took_is_written_again(place: Place, store: Store, damage: str, how: str) -> None:
    place.register(store.of("a"))
    image = store.image("a")
    dockerd = place.dockerd()
    container = dockerd.create_container(image.record.id)
    cache = dockerd.layers[image.layer.id]["cache-id"]
    link = (place.root.overlay / cache / "link").read_text()
    file = place.root.path / damage.replace("LAYER", image.layer.id).replace("CACHE", cache).replace(
        "LINK", link
    ).replace("IMAGE", image.record.id)
    file.unlink()
    if how == "empty" and damage != "overlay2/CACHE/committed":
        file.touch()
    place.register(store.of("a"))
    check_declared(place, store.of("a"))
    assert place.dockerd().trees_of(container)[-1] == mounted_image(image.entry, image.layer.id)


def test_a_damaged_list_of_docker_is_left_alone(place: Place, store: Store) -> None:
    place.make_docker()
    place.root.repositories.write_text("{")
    before = files(place.folder)
    with pytest.raises(DocumentError, match=r"repositories\.json: not valid JSON"):
        place.register(store.of("a"))
    assert {path: what for path, what in files(place.folder).items() if path in before} == before


def test_a_full_disk_is_named_and_the_next_run_completes_it(
    place: Place, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.make_docker()
    with monkeypatch.context() as patch:

        def refuse(*_: object) -> None:
            # as a write says it: without a name
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patch.setattr("nixoci.engines.docker.layers._write", refuse)
        with pytest.raises(OSError, match="No space left on device; free some and run again") as full:
            place.register(store.of("ab"))
    assert full.value.filename == str(place.root.path)
    assert not place.dockerd().images
    place.register(store.of("ab"))
    check_declared(place, store.of("ab"))


def test_a_list_of_another_version_is_refused(place: Place, store: Store) -> None:
    place.registered.parent.mkdir()
    place.registered.write_text('{"version": 2, "roots": []}')
    with pytest.raises(UnsupportedVersionError, match=r"docker\.json: version 2, this nixoci reads 1"):
        place.register(store.of("a"))


def test_images_that_cannot_be_mounted_are_refused(place: Place, store: Store, tmp_path: Path) -> None:
    image = image_path(tmp_path / "image", small_tree())
    build_image_store(tmp_path / "plain", [image], mkcomposefs=None)
    with pytest.raises(StoreError, match="has no EROFS file to mount"):
        place.register(tmp_path / "plain")
    with pytest.raises(StoreError, match="is not an image store"):
        place.register(store.folder)


def test_two_data_roots_keep_their_images_apart(place: Place, store: Store) -> None:
    other = Place(place.folder / "other", store.folder)
    both = type("Both", (Place,), {"registered": place.registered, "roots": place.roots})(other.folder, store.folder)
    place.register(store.of("a"))
    both.register(store.of("b"))
    place.register(store.of(""))
    assert held(place) == {"x-b-1"}
    check_declared(both, store.of("b"))


def test_nothing_is_written_for_two_hundred_images_that_are_there(place: Place, tmp_path: Path) -> None:
    write_large_store(tmp_path / "store", 200)
    place.register(tmp_path / "store")
    before = files(place.folder)
    done = place.register(tmp_path / "store")
    assert list(changes(done).values()) == [Change.KEPT] * 200
    assert files(place.folder) == before


def test_folders_of_others_are_left_alone(place: Place, store: Store) -> None:
    place.make_docker()
    (place.root.overlay / "someones").mkdir()
    (place.root.overlay / "someones/diff").symlink_to("/mnt/tree")
    (place.root.overlay / "dangling").symlink_to("/nowhere")
    place.register(store.of("a"))
    place.register(store.of(""))
    assert os.path.lexists(place.root.overlay / "someones/diff")
    assert os.path.lexists(place.root.overlay / "dangling")


def release(place: Place, **options: bool) -> set[str]:
    return {entry.name for entry in release_roots(roots=place.roots, registered=place.registered, **options)}


def test_the_roots_of_images_that_docker_has_dropped_are_released_without_a_run(place: Place, store: Store) -> None:
    place.register(store.of("ab"))
    assert release(place) == set()
    place.dockerd().rmi(store.image("a").record.id)
    assert release(place, dry_run=True) == {"x-a-1"}
    assert held(place) == {"x-a-1", "x-b-1"}
    assert release(place) == {"x-a-1"}
    assert held(place) == {"x-b-1"}


def test_a_data_root_that_is_not_mounted_keeps_its_roots(place: Place, store: Store) -> None:
    place.register(store.of("ab"))
    away = place.root.path.rename(place.folder / "away")
    assert release(place) == set()
    away.rename(place.root.path)
    assert held(place) == {"x-a-1", "x-b-1"}


def test_without_roots_nothing_is_read(place: Place) -> None:
    place.registered.parent.mkdir()
    place.registered.write_text("{")
    assert release(place) == set()
