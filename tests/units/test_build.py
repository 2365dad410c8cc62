from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nixoci.container.model import Deployment
from nixoci.document import structure
from nixoci.errors import ContainerError
from nixoci.image_store.build import build_image_store
from nixoci.image_store.contents import StoreImage, read_image_store
from nixoci.units.build import build_units
from nixoci.units.tools import Tools
from tests.container.samples import make_image
from tests.container.test_model import shuffled
from tests.image_store.trees import image_path, small_tree
from tests.units.samples import GENERATOR, IMAGE, MKCOMPOSEFS, TOOLS, deployment, executable

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

NAMES = st.sampled_from(["a", "b", "c", "d"])
KEYS = st.sampled_from(["Label", "Nice", "Memory", "Xy"])
VALUES = st.one_of(st.text("aZ0 %$", max_size=4), st.integers(0, 9), st.booleans())
SECTION = st.dictionaries(KEYS, st.one_of(VALUES, st.lists(VALUES, max_size=2)), max_size=3)
JSON = st.recursive(VALUES, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner), max_leaves=3)
UNIT = st.dictionaries(st.sampled_from(["Unit", "Service", "Install"]), SECTION, max_size=2)
TEXTS = st.dictionaries(NAMES, st.text("ab =", max_size=3), max_size=3)


def part(**more: Any) -> Any:
    return st.fixed_dictionaries(
        {"settings": st.fixed_dictionaries({"unit": UNIT, "quadlet": SECTION}), "labels": TEXTS, **more}
    )


CONTAINER = part(
    environment=TEXTS,
    capabilities=st.dictionaries(st.sampled_from(["KILL", "CHOWN", "MKNOD"]), st.booleans()),
    secrets=st.dictionaries(NAMES, st.just({"source": "/s"}), max_size=2),
)
BUNDLE = st.fixed_dictionaries(
    {
        "environment": TEXTS,
        "labels": TEXTS,
        "secrets": st.dictionaries(NAMES, st.just({"source": "/s"}), max_size=2),
        "settings": st.fixed_dictionaries(
            {"unit": UNIT, "runtime": st.fixed_dictionaries({"annotations": TEXTS, "x": JSON})}
        ),
    }
)


def named(prefix: str, each: Any) -> Any:
    return st.dictionaries(NAMES.map(lambda name: f"{prefix}-{name}"), each, max_size=2)


DOCUMENTS = st.fixed_dictionaries(
    {
        "containers": st.tuples(
            named("c", CONTAINER.map(lambda each: each | {"image": "i", "backend": "rootfs"})),
            named("b", BUNDLE.map(lambda each: each | {"image": "i", "backend": "bundle", "networks": ["none"]})),
        ).map(lambda both: both[0] | both[1]),
        "volumes": named("v", part()),
        "networks": named("n", part()),
        "pods": named("p", part()),
    }
)


@pytest.fixture(scope="module")
def host() -> Iterator[tuple[Path, Tools]]:
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        make_image(made / "image", {"Cmd": ["run"]})
        quadlet = executable(made / "quadlet", GENERATOR)
        yield made, Tools.find(quadlet=quadlet, mkcomposefs=executable(made / "mkcomposefs", MKCOMPOSEFS))


def rendered(document: dict[str, Any], folder: Path, tools: Tools) -> dict[str, bytes]:
    """Return the files of a document's units."""
    whole = {"images": {"i": str(folder / "image")}} | document
    with tempfile.TemporaryDirectory(dir=folder) as parent:
        # the same place each time, since units name it
        out = folder / "out"
        build_units(structure(Deployment, whole, what="d", strict=True), out, tools=tools)
        out.rename(Path(parent) / "out")
        files = [file for file in sorted((Path(parent) / "out").rglob("*")) if file.is_file()]
        return {str(file.relative_to(parent)): file.read_bytes() for file in files}


@settings(max_examples=12, deadline=None)
@given(document=DOCUMENTS, source=st.randoms(use_true_random=False))
def test_equal_documents_give_equal_bytes(
    host: tuple[Path, Tools], document: dict[str, Any], source: random.Random
) -> None:
    assert rendered(document, *host) == rendered(shuffled(document, source), *host)


def test_an_image_store_is_read_once_for_all_containers(
    host: tuple[Path, Tools], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = image_path(tmp_path / "image", small_tree())
    build_image_store(tmp_path / "store", [image], mkcomposefs=None)
    read: list[Path] = []

    def count(store: Path) -> list[StoreImage]:
        read.append(store)
        return read_image_store(store)

    monkeypatch.setattr("nixoci.image_store.contents.read_image_store", count)
    containers = {name: {"image": "i", "cmd": ["/file"]} for name in ("a", "b", "c")}
    whole = {"images": {"i": str(image.path)}, "imageStore": str(tmp_path / "store"), "containers": containers}
    build_units(structure(Deployment, whole, what="d", strict=True), tmp_path / "out", tools=host[1])
    assert {path.name for path in (tmp_path / "out/share/containers/systemd").iterdir()} == {
        f"{name}.container" for name in containers
    }
    assert read == [tmp_path / "store"]


def test_nothing_is_left_of_units_that_failed(tmp_path: Path) -> None:
    make_image(tmp_path / "image", IMAGE)
    with pytest.raises(ContainerError, match=r"^imageStore: the podman backend"):
        build_units(deployment(tmp_path / "image", {}), tmp_path / "out", tools=TOOLS)
    assert not (tmp_path / "out").exists()


def test_a_place_that_is_relative_or_taken_is_refused(tmp_path: Path) -> None:
    make_image(tmp_path / "image", IMAGE)
    whole = deployment(tmp_path / "image", {})
    with pytest.raises(ContainerError, match="give that"):
        build_units(whole, Path("out"), tools=TOOLS)
    with pytest.raises(ContainerError, match="it exists"):
        build_units(whole, tmp_path, tools=TOOLS)
    assert (tmp_path / "image").exists()


def test_no_two_containers_have_a_unit_or_a_file_of_one_name(host: tuple[Path, Tools]) -> None:
    folder, tools = host
    bundle = {"image": "i", "backend": "bundle", "networks": ["none"]}
    checked = bundle | {"healthcheck": {"test": ["CMD", "true"]}}

    def build(out: str, containers: dict[str, Any]) -> None:
        document = {"images": {"i": str(folder / "image")}, "containers": containers}
        build_units(structure(Deployment, document, what="d", strict=True), folder / out, tools=tools)

    with pytest.raises(ContainerError, match=r"^containers\.pg-health: its unit is pg-health\.service, like that of"):
        build("clash", {"pg": checked, "pg-health": bundle})
    # without a check there is no such unit
    build("free", {"pg": bundle, "pg-health": bundle})
    build("files", {"a": bundle | {"volumes": ["v:/data"]}, "a-volumes": bundle | {"secrets": {"s": {"source": "/s"}}}})
    made = {str(file.relative_to(folder / "files/share/nixoci/tmpfiles")) for file in folder.glob("files/**/*.conf")}
    assert made == {"volumes/a.conf", "a-volumes.conf"}


def test_units_have_the_names_that_the_document_gives_them(host: tuple[Path, Tools]) -> None:
    folder, tools = host
    bundle = {"image": "i", "backend": "bundle", "networks": ["none"]}
    containers = {
        "a": {"image": "i", "backend": "rootfs", "serviceName": "first"},
        "b": bundle | {"serviceName": "second", "dependsOn": ["a"], "healthcheck": {"test": ["CMD", "true"]}},
    }
    quadlets = {"app.kube": {"settings": {"quadlet": {"Yaml": "/app.yaml"}}}, "x.image": {"autoStart": False}}
    document = {"images": {"i": str(folder / "image")}, "containers": containers, "quadlets": quadlets}

    def build(out: str, document: dict[str, Any], **more: Any) -> set[str]:
        build_units(structure(Deployment, document, what="d", strict=True), folder / out, tools=tools, **more)
        return {file.name for file in (folder / out / "lib/systemd/system").iterdir() if file.is_file()}

    services = {"first.service", "app.service", "x-image.service"}
    bundles = {"second.service", "second-health.service", "second-health.timer"}
    images = {"nixoci-images.service"}
    assert build("named", document) == services | bundles | images
    wants = {file.name for file in folder.glob("named/lib/systemd/system/multi-user.target.wants/*")}
    assert wants == {"second.service"}
    # a bundle of its own knows the others by the names of their units
    alone = {"images": document["images"], "containers": containers | {"a": {"image": "", "serviceName": "first"}}}
    assert build("alone", alone, only="b") == bundles
    assert "Requires=first.service\n" in (folder / "alone/lib/systemd/system/second.service").read_text()
    assert "gcroots/nixoci/second" in (folder / "alone/share/nixoci/bundles/b/stop").read_text()
    assert build("joined", document, prebuilt={"b": folder / "alone"}) == services | bundles | images
    # its image is still mounted, from where it is
    layer = (folder / "alone/share/nixoci/images/b").readlink()
    assert f" {layer}\n" in (folder / "joined/lib/systemd/system/nixoci-images.service").read_text()


@pytest.mark.parametrize("cmd", [["/sbin/init"], ["/bin/sh", "-c", "/usr/lib/systemd/systemd --user"]])
def test_a_bundle_that_runs_systemd_is_warned_of(host: tuple[Path, Tools], cmd: list[str]) -> None:
    folder, tools = host
    containers = {"c": {"image": "i", "backend": "bundle", "networks": ["none"], "cmd": cmd}}
    document = {"images": {"i": str(folder / "image")}, "containers": containers}
    whole = structure(Deployment, document, what="d", strict=True)
    warnings = build_units(whole, folder / f"systemd-{len(cmd)}", tools=tools)
    if len(cmd) == 1:
        (warning,) = warnings
        assert warning.startswith(
            "containers.c.backend: '/sbin/init' is systemd, and the bundle backend has no systemd mode"
        )
    else:
        assert not warnings  # podman compares the whole line


def test_a_tree_that_loses_its_owners_is_warned_of(host: tuple[Path, Tools]) -> None:
    folder, tools = host
    container = {"image": "i", "backend": "rootfs"}
    document = {"images": {"i": str(folder / "image")}, "containers": {"c": container}}
    whole = structure(Deployment, document, what="d", strict=True)
    (warning,) = build_units(whole, folder / "warned", tools=tools)
    assert warning.startswith("containers.c.backend: the image has files of other owners")
