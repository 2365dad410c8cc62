from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nixoci.container.model import Deployment, in_order
from nixoci.document import dump, structure
from nixoci.errors import ContainerError
from nixoci.units.render import Rendering, render_units
from nixoci.units.settings import add_quadlet_settings
from nixoci.units.text import UnitFile
from nixoci.units.tools import Tools
from tests.container.samples import make_image

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

GENERATOR = """#!/bin/sh
for target; do :; done
for file in "$QUADLET_UNIT_DIRS"/*; do
  name=${file##*/}
  case $name in
    *.container) cp "$file" "$target/${name%.*}.service" ;;
    *) cp "$file" "$target/${name%.*}-${name##*.}.service" ;;
  esac
done
"""
"""In the place of podman's: services that are the Quadlet files themselves."""

NAMES = st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True)
VALUES = st.one_of(st.text("aZ0 %$", max_size=4), st.integers(), st.booleans())
SECTION = st.dictionaries(st.from_regex(r"[A-Z][a-z]{0,5}", fullmatch=True), st.one_of(VALUES, st.lists(VALUES)))
JSON = st.recursive(VALUES, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner), max_leaves=4)
UNIT = st.dictionaries(st.sampled_from(["Unit", "Service", "Install"]), SECTION)
TEXTS = st.dictionaries(NAMES, st.text("ab =", max_size=3))


def part(**more: Any) -> Any:
    return st.fixed_dictionaries(
        {"settings": st.fixed_dictionaries({"unit": UNIT, "quadlet": SECTION}), "labels": TEXTS, **more}
    )


CONTAINER = part(
    environment=TEXTS,
    capabilities=st.dictionaries(st.sampled_from(["KILL", "CHOWN", "MKNOD"]), st.booleans()),
    secrets=st.dictionaries(NAMES, st.just({"source": "/s"})),
)
BUNDLE = st.fixed_dictionaries(
    {
        "environment": TEXTS,
        "labels": TEXTS,
        "secrets": st.dictionaries(NAMES, st.just({"source": "/s"})),
        "settings": st.fixed_dictionaries(
            {"unit": UNIT, "runtime": st.fixed_dictionaries({"annotations": TEXTS, "x": JSON})}
        ),
    }
)


def named(prefix: str, each: Any) -> Any:
    return st.dictionaries(NAMES.map(lambda name: f"{prefix}-{name}"), each, max_size=3)


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


def shuffled(value: Any, source: random.Random) -> Any:
    """Return a JSON value with the keys of all objects in another order."""
    if isinstance(value, dict):
        return {key: shuffled(value[key], source) for key in source.sample(list(value), len(value))}
    return [shuffled(item, source) for item in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def host() -> Iterator[tuple[Path, Tools]]:
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        make_image(made / "image", {"Cmd": ["run"]})
        for name, text in (("quadlet", GENERATOR), ("mkcomposefs", '#!/bin/sh\ncp "$2" "$3"\n')):
            (made / name).write_text(text)
            (made / name).chmod(0o755)
        yield made, Tools.find(quadlet=str(made / "quadlet"), mkcomposefs=str(made / "mkcomposefs"))


def rendered(document: dict[str, Any], folder: Path, tools: Tools) -> dict[str, bytes]:
    """Return the files of a document's units."""
    whole = {"images": {"i": str(folder / "image")}} | document
    with tempfile.TemporaryDirectory(dir=folder) as parent:
        # the same place each time, since units name it
        out = folder / "out"
        deployment = structure(Deployment, whole, what="d", strict=True)
        render_units(Rendering(deployment=deployment, tools=tools, out=out, profile=None))
        out.rename(Path(parent) / "out")
        files = [file for file in sorted((Path(parent) / "out").rglob("*")) if file.is_file()]
        return {str(file.relative_to(parent)): file.read_bytes() for file in files}


@settings(max_examples=12, deadline=None)
@given(document=DOCUMENTS, source=st.randoms(use_true_random=False))
def test_equal_documents_give_equal_bytes(
    host: tuple[Path, Tools], document: dict[str, Any], source: random.Random
) -> None:
    assert rendered(document, *host) == rendered(shuffled(document, source), *host)


@settings(max_examples=20, deadline=None)
@given(document=DOCUMENTS, source=st.randoms(use_true_random=False))
def test_order_is_that_of_the_keys_and_changes_no_value(document: dict[str, Any], source: random.Random) -> None:
    first, second = (
        structure(Deployment, each, what="d", strict=True) for each in (document, shuffled(document, source))
    )
    assert first == second == in_order(second)
    assert dump(in_order(first)) == dump(in_order(second))


def lines(section: str, **quadlet: Any) -> list[str]:
    unit = UnitFile("x")
    add_quadlet_settings(unit, "containers.x", section, quadlet)
    return [f"{key}={value}" for keys in unit.sections.values() for key, value in keys]


def test_keys_that_the_generator_does_not_keep_in_order_are_arguments() -> None:
    assert lines("Container", Timezone="local", Memory='"1 g"', PidsLimit=-1) == [
        "PodmanArgs=--tz=local",
        'PodmanArgs="--memory=1 g"',
        "PodmanArgs=--pids-limit=-1",
    ]
    assert lines("Container", AddHost=["a:1", "b:2"]) == ["PodmanArgs=--add-host=a:1", "PodmanArgs=--add-host=b:2"]
    assert lines("Container", RunInit=True, HttpProxy=False, EnvironmentHost="Yes") == [
        "PodmanArgs=--init",
        "PodmanArgs=--http-proxy=false",
        "PodmanArgs=--env-host",
    ]
    assert lines("Container", Label='a=b \'c=d  e\' "f=\\""', Annotation="") == [
        "PodmanArgs=--label a=b",
        "PodmanArgs=--label 'c=d  e'",
        'PodmanArgs=--label "f=\\""',
    ]


def test_other_keys_and_other_sections_stay_as_they_are() -> None:
    assert lines("Container", AutoUpdate="registry", GlobalArgs=["--a", "--b"]) == [
        "AutoUpdate=registry",
        "GlobalArgs=--a",
        "GlobalArgs=--b",
    ]
    assert lines("Volume", Driver="image", Label="a=b") == ["Driver=image", "Label=a=b"]
    assert lines("Pod", Label="a=b", DNS="1.1.1.1") == ["Label=a=b", "PodmanArgs=--dns=1.1.1.1"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("Label", 'a="b', "containers.x.settings.quadlet.Label: 'a=\"b' has a quotation mark that is not closed"),
        ("Timezone", "a\nb", "containers.x.settings.quadlet.Timezone: more than one line"),
        ("Timezone", None, "containers.x.settings.quadlet.Timezone: expected text, a number"),
        ("Timezone", "\x80", "containers.x.settings.quadlet.Timezone: Quadlet cannot express"),
        ("Rogue\nKey", "x", "containers.x.settings.quadlet: 'Rogue\\nKey' is not a key"),
        ("Image", {}, "containers.x.settings.quadlet.Image: expected text, a number"),
    ],
)
def test_what_would_not_stay_on_its_line_is_refused_by_its_option(key: str, value: Any, message: str) -> None:
    with pytest.raises(ContainerError) as caught:
        lines("Container", **{key: value})
    assert str(caught.value).startswith(message)
