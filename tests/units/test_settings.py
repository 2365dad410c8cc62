from __future__ import annotations

from typing import Any

import pytest

from nixoci.errors import ContainerError
from nixoci.units.escape import UnitFile, word
from nixoci.units.settings import add_quadlet_settings


def lines(section: str, **quadlet: Any) -> list[str]:
    unit = UnitFile("x")
    add_quadlet_settings(unit, "containers.x.settings.quadlet", section, quadlet)
    return [f"{key}={value}" for keys in unit.sections.values() for key, value in keys]


def test_keys_that_the_generator_does_not_keep_in_order_are_arguments() -> None:
    assert lines("Container", Timezone="local", Memory='"1 g"', PidsLimit=-1) == [
        "PodmanArgs=--tz local",
        'PodmanArgs=--memory "1 g"',
        "PodmanArgs=--pids-limit -1",
    ]
    assert lines("Container", AddHost=["a:1", "b:2"]) == ["PodmanArgs=--add-host a:1", "PodmanArgs=--add-host b:2"]
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


def test_paths_from_the_root_and_of_systemd_stay() -> None:
    assert lines("Container", Volume="/a:/b", EnvironmentFile=["/a /b", "%h/c"], Mount="type=bind,src=/a,dst=/b") == [
        "Volume=/a:/b",
        "EnvironmentFile=/a /b",
        "EnvironmentFile=%h/c",
        "Mount=type=bind,src=/a,dst=/b",
    ]


def test_other_keys_and_other_sections_stay_as_they_are() -> None:
    assert lines("Container", AutoUpdate="registry", GlobalArgs=["--a", "--b"]) == [
        "AutoUpdate=registry",
        "GlobalArgs=--a",
        "GlobalArgs=--b",
    ]
    assert lines("Volume", Driver="image", Label="a=b") == ["Driver=image", "Label=a=b"]
    assert lines("Pod", Label="a=b", DNS="1.1.1.1") == ["Label=a=b", "PodmanArgs=--dns 1.1.1.1"]


def test_an_empty_value_resets_a_list_and_the_last_single_value_counts() -> None:
    """As podman's parser of unit files has it."""
    assert lines("Container", DNS=["9.9.9.9", "", "1.1.1.1"]) == ["PodmanArgs=--dns 1.1.1.1"]
    assert lines("Container", Label=["a=b", ""]) == []
    assert lines("Container", Memory=["1g", "2g"], RunInit=[True, False]) == [
        "PodmanArgs=--memory 2g",
        "PodmanArgs=--init=false",
    ]
    unit = UnitFile("x")
    unit.add("Container", "Environment", word("A=1"))
    add_quadlet_settings(unit, "o", "Container", {"Environment": ["", "B=2"]})
    assert [f"{key}={value}" for key, value in unit.sections[word("Container")]] == [
        "Environment=A=1",
        "Environment=",
        "PodmanArgs=--env B=2",
    ]


def test_a_variable_that_systemd_expands_is_a_word_of_its_own() -> None:
    # systemd.service(5), "Command lines": $NAME is expanded as a separate word, ${NAME} anywhere
    assert lines("Container", HostName="$NAME") == ['PodmanArgs=--hostname "$NAME"']


def test_an_entrypoint_that_would_have_no_effect_is_refused() -> None:
    unit = UnitFile("x")
    add_quadlet_settings(unit, "o", "Container", {"Entrypoint": "/e"})
    unit.add("Container", "PodmanArgs", word('--entrypoint=["/x"]'))
    with pytest.raises(ContainerError, match=r"^o\.Entrypoint: podman is told another entrypoint already"):
        add_quadlet_settings(unit, "o", "Container", {"Entrypoint": "/e"})


@pytest.mark.parametrize("escape", ["\\n", "\\\\", "\\s", "\\x41", "\\u20ac", "\\U0001F433", "\\101", "\\'"])
def test_escapes_that_the_generator_knows_are_kept(escape: str) -> None:
    assert lines("Container", Label=f"a=b{escape}c") == [f"PodmanArgs=--label a=b{escape}c"]
    assert lines("Container", PodmanArgs=f"--x={escape}c") == [f"PodmanArgs=--x={escape}c"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        *(
            (key, f"match={escape}x", f"containers.x.settings.quadlet.{key}: 'match=")
            for key in ("Label", "Environment", "Annotation", "PodmanArgs", "Exec")
            for escape in ("\\?", "\\x00", "\\u12", "\\8", "\\A", "\\$")
        ),
        ("Volume", "./data:/data", "containers.x.settings.quadlet.Volume: './data:/data' has a relative path"),
        ("Volume", "../data:/data", "containers.x.settings.quadlet.Volume: '../data:/data' has a relative path"),
        ("EnvironmentFile", "web.env", "containers.x.settings.quadlet.EnvironmentFile: 'web.env' has a relative path"),
        ("EnvironmentFile", "/a 'b'", "containers.x.settings.quadlet.EnvironmentFile: \"/a 'b'\" has a relative path"),
        ("Mount", "type=bind,src=./a,dst=/b", "containers.x.settings.quadlet.Mount: 'type=bind,src=./a"),
        ("Image", "redis", "containers.x.settings.quadlet.Image: the container's image is `image`"),
        ("ServiceName", "other", "containers.x.settings.quadlet.ServiceName: other units know this one"),
        ("StopTimeout", 90, "containers.x.settings.quadlet.StopTimeout: the unit must wait as long"),
        ("Label", 'a="b', "containers.x.settings.quadlet.Label: 'a=\"b' has a quotation mark that is not closed"),
        ("Timezone", "a\nb", "containers.x.settings.quadlet.Timezone: more than one line"),
        ("Timezone", None, "containers.x.settings.quadlet.Timezone: expected text, a number"),
        ("Timezone", "\x80", "containers.x.settings.quadlet.Timezone: Quadlet cannot express"),
        ("Rogue\nKey", "x", "containers.x.settings.quadlet: 'Rogue\\nKey' is not a key"),
        ("Sysctl", {}, "containers.x.settings.quadlet.Sysctl: expected text, a number"),
    ],
)
def test_what_would_not_stay_on_its_line_is_refused_by_its_option(key: str, value: Any, message: str) -> None:
    with pytest.raises(ContainerError) as caught:
        lines("Container", **{key: value})
    assert str(caught.value).startswith(message)
