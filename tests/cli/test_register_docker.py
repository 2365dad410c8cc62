from __future__ import annotations

import fcntl
import json
from functools import partial
from typing import TYPE_CHECKING

import pytest

from nixoci.engines.docker.register import register_in_docker
from tests.engines.docker.place import Place, Store
from tests.units.samples import MKCOMPOSEFS, executable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Result


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "images").mkdir()
    return Store(tmp_path / "images")


@pytest.fixture
def place(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Return a machine whose lists and roots the command has, instead of those of this one."""
    place = Place(tmp_path / "machine", store.folder)
    place.make()
    ours = partial(register_in_docker, roots=place.roots)
    monkeypatch.setattr("nixoci.cli.register.register_in_docker", ours)
    monkeypatch.setattr("nixoci.cli.register.LIST", place.registered)
    return place


def arguments(place: Place, store: Path) -> list[str]:
    return ["register", "docker", str(store), f"--data-root={place.root.path}", "--config-file=/dev/null"]


def test_it_prints_changes_and_what_is_not_mounted(nixoci: Callable[..., Result], place: Place, store: Store) -> None:
    done = nixoci(*arguments(place, store.of("ab")))
    assert done.code == 0
    ids = {name: store.image(name).record.id[:12] for name in "ab"}
    assert [line.split() for line in done.out.splitlines()[1:]] == [["added", ids[name], f"{name}:1"] for name in "ab"]
    assert "not mounted, one of 2 such images; no container" in done.err
    again = nixoci(*arguments(place, store.of("ab")))
    assert (again.code, again.out) == (0, "")
    assert again.err.splitlines()[0] == f"{store.of('ab')}: no image of Docker changes"
    removed = nixoci(*arguments(place, store.of("a")))
    assert {tuple(line.split()[:2]) for line in removed.out.splitlines()[1:]} == {("removed", ids["b"])}
    assert "not mounted; no container" in removed.err


def test_a_machine_without_the_service_that_mounts_images_is_told_of_it(
    nixoci: Callable[..., Result], place: Place, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nixoci.cli.register.unit_files", lambda *_, **__: {})
    name = "nixoci-images.service"
    way = f"before {name}, which `nixoci image-store --images-service FILE` writes, is installed and started"
    assert nixoci(*arguments(place, store.of("a"))).err.endswith(f": not mounted; no container of it starts {way}\n")
    monkeypatch.setattr("nixoci.cli.register.unit_files", lambda *_, **__: {name: f"/etc/systemd/system/{name}"})
    assert nixoci(*arguments(place, store.of("a"))).err.endswith(" starts before `systemctl restart nixoci-images`\n")


def test_an_ordinary_user_is_told_who_may(
    nixoci: Callable[..., Result], place: Place, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "/var/lib/docker/image")

    monkeypatch.setattr("nixoci.cli.register.check_storage", refuse)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    said = "error: /var/lib/docker/image: Permission denied; run this as root, to whom docker belongs\n"
    assert nixoci(*arguments(place, store.of("a"))) == (1, "", said)


def test_it_fails_under_a_running_dockerd_after_it_has_said_what_would_change(
    nixoci: Callable[..., Result], place: Place, store: Store
) -> None:
    place.make_docker()
    (place.root.path / "volumes").mkdir()
    with (place.root.path / "volumes/metadata.db").open("wb") as volumes:
        fcntl.flock(volumes, fcntl.LOCK_EX)
        done = nixoci(*arguments(place, store.of("a")), "--json")
        assert done.code == 1
        assert done.json["restart"] is True
        assert done.err.startswith(f"error: {place.root.path}: nothing changed, because dockerd runs")
        assert done.err.count("\n") == 1
        assert nixoci(*arguments(place, store.of("a")), "--dry-run").code == 0
    assert nixoci(*arguments(place, store.of("a"))).code == 0


def test_dockers_configuration_names_the_data_root(
    nixoci: Callable[..., Result], place: Place, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "daemon.json").write_text(f'{{"data-root": "{place.root.path}"}}')
    done = nixoci("register", "docker", str(store.of("a")), "--config-file=daemon.json", "--json")
    assert done.json["dataRoot"] == str(place.root.path)
    assert place.root.repositories.exists()


def test_a_machine_that_is_built_has_the_paths_of_its_own(
    nixoci: Callable[..., Result], store: Store, tmp_path: Path
) -> None:
    root, layer = tmp_path / "root", store.image("a").layer.id
    (root / "usr/lib").mkdir(parents=True)
    erofs = executable(tmp_path / "mkcomposefs", MKCOMPOSEFS)
    tree = store.image("a").rootfs
    assert tree is not None
    build = ("image-store", str(root / "usr/lib/nixoci"), str(tree.parent), f"--mkcomposefs={erofs}")
    assert nixoci(*build, "--self-contained").code == 0
    done = nixoci("register", "docker", "/usr/lib/nixoci", "--root", "root", "--json")
    assert (done.code, done.json["unmounted"]) == (0, [])
    data = root / "var/lib/docker"
    (folder,) = (path for path in (data / "overlay2").iterdir() if path.name != "l")
    assert str((folder / "diff").readlink()) == f"/run/nixoci/images/nixoci-{layer}"
    tar_split = data / f"image/overlay2/layerdb/sha256/{layer}/tar-split.json.gz"
    assert str(tar_split.readlink()) == f"/usr/lib/nixoci/overlay-layers/{layer}.tar-split.gz"
    (known,) = json.loads((root / "var/lib/nixoci/engines/docker.json").read_text())["dataRoots"]
    assert known["dataRoot"] == "/var/lib/docker"
    again = nixoci("register", "docker", "/usr/lib/nixoci", "--root", "root", "--json").json
    assert {image["change"] for image in again["images"]} == {"kept"}


def test_a_store_that_refers_to_others_is_of_no_use_on_another_machine(
    nixoci: Callable[..., Result], store: Store, tmp_path: Path
) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/store").symlink_to(store.of("a"))
    done = nixoci("register", "docker", "/store", "--root", "root")
    assert done.code == 1
    assert "build it with --self-contained" in done.err
    assert not (tmp_path / "root/var/lib/docker").exists()
    relative = nixoci("register", "docker", "store", "--root", "root")
    assert (relative.code, "write it from that root: /store" in relative.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["docker", "missing"], 1, "missing is not an image store"),
        (["lxc", "store"], 2, "'lxc' is not "),
        (["docker"], 2, "Missing argument 'STORE'"),
        (
            ["docker", "store", "--namespace=moby"],
            2,
            "--namespace is an option of containerd, and the engine is docker",
        ),
        (["containerd", "store", "--root=root"], 2, "--root is an option of docker, and the engine is containerd"),
    ],
)
def test_wrong_input_is_one_line(nixoci: Callable[..., Result], words: list[str], code: int, says: str) -> None:
    done = nixoci("register", *words, "--dry-run")
    assert (done.code, done.out) == (code, "")
    assert says in done.err
    assert done.err.count("\n") == 1
