from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from nixoci.container.places import IMAGES, mounted_image
from nixoci.engines.roots import EngineRoots, Linked, linked_layer

LAYER = "0123456789abcdef" * 4


def roots_at(path: Path) -> EngineRoots:
    (path / "gcroots").mkdir(exist_ok=True)
    return EngineRoots(engine="docker", gc_roots=path / "gcroots", store_dir=path / "store")


def test_a_link_tells_its_entry_and_layer(tmp_path: Path) -> None:
    link = tmp_path / "diff"
    link.symlink_to(mounted_image(Path("/nix/store/aaa-nixoci-image-store-entry"), LAYER))
    assert linked_layer(link) == Linked(entry="aaa-nixoci-image-store-entry", layer=LAYER)


def test_other_paths_are_no_links_to_a_layer(tmp_path: Path) -> None:
    for number, target in enumerate(
        (f"/elsewhere/aaa-{LAYER}", f"{IMAGES}/{LAYER}", f"{IMAGES}/aaa-{LAYER[1:]}", f"{IMAGES}/aaa-{LAYER}/etc")
    ):
        (tmp_path / str(number)).symlink_to(target)
        assert linked_layer(tmp_path / str(number)) is None
    (tmp_path / "directory").mkdir()
    assert linked_layer(tmp_path / "directory") is None
    assert linked_layer(tmp_path / "nothing") is None


def test_an_entry_has_a_root_as_long_as_a_link_names_it(tmp_path: Path) -> None:
    roots = roots_at(tmp_path)
    first, second = (tmp_path / f"store/{name}-entry" for name in ("a", "b"))
    assert roots.hold([first, second, first]) == [first, second]
    assert roots.hold([first]) == []
    assert [file.name for file in sorted(roots.directory.iterdir())] == ["a-entry", "b-entry"]
    assert roots.directory == tmp_path / "gcroots/nixoci-engines/docker"
    linked = {Linked(entry="b-entry", layer=LAYER)}
    assert roots.release(linked, dry_run=True) == [first]
    assert roots.held() == {"a-entry", "b-entry"}
    assert roots.release(linked) == [first]
    assert roots.held() == {"b-entry"}


def test_what_is_not_in_the_nix_store_needs_no_root(tmp_path: Path) -> None:
    roots = roots_at(tmp_path)
    assert roots.hold([tmp_path / "elsewhere/entry", tmp_path / "store/deeper/entry"]) == []
    assert not roots.directory.exists()
    assert roots.release([]) == []


def test_without_nix_nothing_is_written(tmp_path: Path) -> None:
    roots = EngineRoots(engine="docker", gc_roots=tmp_path / "none", store_dir=tmp_path / "store")
    assert roots.hold([tmp_path / "store/a-entry"]) == []
    assert not (tmp_path / "none").exists()


@given(entry=st.from_regex(r"[0-9a-z]{8}-[a-zA-Z0-9+._?=-]{1,40}", fullmatch=True))
def test_every_store_path_comes_back_from_its_mount_point(tmp_path_factory: object, entry: str) -> None:
    folder = tmp_path_factory.mktemp("link")  # type: ignore[attr-defined]
    (folder / "diff").symlink_to(mounted_image(Path("/nix/store", entry), LAYER))
    assert linked_layer(folder / "diff") == Linked(entry=entry, layer=LAYER)
