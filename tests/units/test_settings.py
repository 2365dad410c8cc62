from __future__ import annotations

from typing import Any

import pytest

from nixoci.errors import ContainerError
from nixoci.units.settings import add_quadlet_settings
from nixoci.units.text import UnitFile


def lines(section: str, **quadlet: Any) -> list[str]:
    unit = UnitFile("x")
    add_quadlet_settings(unit, "containers.x.settings.quadlet", section, quadlet)
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
