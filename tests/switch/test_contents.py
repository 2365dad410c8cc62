from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from nixoci.errors import StoreError
from nixoci.image_store.build import build_image_store
from nixoci.switch.contents import read_contents
from nixoci.switch.places import Places

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def places(folder: Path, *, user: bool = False) -> Places:
    return Places(
        units=folder / "units",
        drop_in=folder / "conf.d/50-nixoci.conf",
        record=folder / "state/switch.json",
        profile=folder / "profile",
        user=user,
    )


def write(file: Path, text: str = "[Unit]\n") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_everything_that_systemd_reads_is_linked(tmp_path: Path) -> None:
    out = tmp_path / "out"
    units = out / "lib/systemd/system"
    for name in ("web.service", "web-health.service", "web-health.timer", "kept-volume.service"):
        write(units / name)
    write(units / "web.service.d/more.conf")
    (units / "alias.service").symlink_to("web.service")
    (units / "multi-user.target.wants").mkdir()
    (units / "multi-user.target.wants/web.service").symlink_to("../web.service")
    write(out / "storage.conf.d/50-nixoci.conf")
    write(out / "share/containers/systemd/web.container")
    made = read_contents(out, places(tmp_path))
    files = ["web.service", "web-health.service", "web-health.timer", "kept-volume.service", "web.service.d/more.conf"]
    assert {str(path.relative_to(tmp_path)): target for path, target in made.links.items()} == {
        **{f"units/{name}": f"{units}/{name}" for name in files},
        "units/alias.service": "web.service",
        "units/multi-user.target.wants/web.service": "../web.service",
        "conf.d/50-nixoci.conf": f"{out}/storage.conf.d/50-nixoci.conf",
    }
    assert set(made.units) == set(files[:4])
    assert set(made.wanted) == {"web.service"}
    assert set(made.timed) == {"web-health.service"}


def test_a_unit_differs_by_its_text_and_its_drop_ins_but_not_by_its_output(tmp_path: Path) -> None:
    digests, texts = [], (("[Unit]\n", "a"), ("[Unit]\n", "a"), ("[Unit]\nA=b\n", "a"), ("[Unit]\n", "b"))
    for number, (text, drop_in) in enumerate(texts):
        units = tmp_path / str(number) / "lib/systemd/system"
        write(units / "web.service", text)
        write(units / "web.service.d/more.conf", drop_in)
        digests.append(read_contents(tmp_path / str(number), places(tmp_path)).units["web.service"])
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_a_template_is_no_unit_but_its_instances_are(tmp_path: Path) -> None:
    units = tmp_path / "out/lib/systemd/system"
    write(units / "web@.service")
    (units / "multi-user.target.wants").mkdir()
    (units / "multi-user.target.wants/web@1.service").symlink_to("../web@.service")
    made = read_contents(tmp_path / "out", places(tmp_path))
    assert set(made.units) == set(made.wanted) == {"web@1.service"}
    assert tmp_path / "units/web@.service" in made.links


def test_directories_of_units_may_be_links(tmp_path: Path) -> None:
    write(tmp_path / "a/web.service")
    write(tmp_path / "b/more.conf")
    (tmp_path / "a/web.service.d").symlink_to(tmp_path / "b")
    (tmp_path / "out/lib/systemd").mkdir(parents=True)
    (tmp_path / "out/lib/systemd/system").symlink_to(tmp_path / "a")
    made = read_contents(tmp_path / "out", places(tmp_path))
    assert set(made.links) == {tmp_path / "units" / name for name in ("web.service", "web.service.d/more.conf")}


@pytest.mark.parametrize("name", ["web.service", "web.service.d/more.conf"])
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/nowhere/web.service")])
def test_what_is_no_file_is_refused_and_not_waited_for(
    tmp_path: Path, make: Callable[[Path], object], name: str
) -> None:
    units = tmp_path / "out/lib/systemd/system"
    write(units / "other.service")
    (units / name).parent.mkdir(exist_ok=True)
    make(units / name)
    with pytest.raises(StoreError, match=f"^{units / name}: is no file, so this output is damaged; "):
        read_contents(tmp_path / "out", places(tmp_path))


def test_a_masked_unit_is_linked(tmp_path: Path) -> None:
    write(tmp_path / "out/lib/systemd/system/web.service")
    (tmp_path / "out/lib/systemd/system/other.service").symlink_to("/dev/null")
    assert set(read_contents(tmp_path / "out", places(tmp_path)).units) == {"web.service", "other.service"}


def test_an_image_store_has_a_drop_in_alone(tmp_path: Path) -> None:
    write(tmp_path / "store/storage.conf.d/50-nixoci.conf")
    made = read_contents(tmp_path / "store", places(tmp_path))
    assert (len(made.links), made.units) == (1, {})


def test_an_image_store_without_its_drop_in_names_the_way_to_one(tmp_path: Path) -> None:
    build_image_store(tmp_path / "store", [], mkcomposefs=None)
    drop_in = "OUT/storage.conf.d/50-nixoci.conf"
    with pytest.raises(StoreError, match=f"store: is an image store without .* `nixoci .* --drop-in {drop_in}`$"):
        read_contents(tmp_path / "store", places(tmp_path))
    write(tmp_path / "store" / drop_in.removeprefix("OUT/"))
    assert read_contents(tmp_path / "store", places(tmp_path)).links


@pytest.mark.parametrize("user", [False, True])
def test_what_is_no_output_or_one_for_somebody_else_is_refused(tmp_path: Path, *, user: bool) -> None:
    with pytest.raises(StoreError, match="no such directory"):
        read_contents(tmp_path / "none", places(tmp_path, user=user))
    with pytest.raises(StoreError, match="neither units nor"):
        read_contents(tmp_path, places(tmp_path, user=user))
    write(tmp_path / "lib/systemd" / ("system" if user else "user") / "web.service")
    with pytest.raises(StoreError, match="without --user" if user else "with --user"):
        read_contents(tmp_path, places(tmp_path, user=user))
