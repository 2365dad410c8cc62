from __future__ import annotations

from typing import Any

import pytest

from nixoci.errors import ImageError
from nixoci.oci.config_types import check_config_types

ANY_CASE = "Go programs read keys in any case"
CONFIG: dict[str, Any] = {
    "created": "2024-01-02T03:04:05Z",
    "architecture": "amd64",
    "os": "linux",
    "os.features": ["win32k"],
    "config": {
        "Env": ["A=b", None],
        "Cmd": None,
        "Labels": {"a": "b", "c": None},
        "ExposedPorts": {"80/tcp": {}},
        "Volumes": {"/data": None},
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 30_000_000_000},
        "OnBuild": [],
    },
    "rootfs": {"type": "layers", "diff_ids": None},
    "history": [{"created_by": "RUN true", "empty_layer": True}, None],
    "container_config": {"Hostname": "a"},
    "moby.buildkit.cache.v0": 5,
}


@pytest.mark.parametrize("docker", [False, True])
def test_what_go_decodes_passes(docker: bool) -> None:
    check_config_types(CONFIG, docker=docker, what="C")


def test_keys_in_any_case_become_those_of_the_specifications() -> None:
    given = {
        "Config": {"entrypoint": ["sh"], "LABELS": {"Cmd": "a"}, "healthcheck": {"test": ["NONE"]}, "own": 1},
        "RootFS": {"DIFF_IDS": []},
        "History": [{"Empty_Layer": True}, None],
    }
    assert check_config_types(given, docker=True, what="C") == {
        "config": {"Entrypoint": ["sh"], "Labels": {"Cmd": "a"}, "Healthcheck": {"Test": ["NONE"]}, "own": 1},
        "rootfs": {"diff_ids": []},
        "history": [{"empty_layer": True}, None],
    }
    assert check_config_types(CONFIG, docker=True, what="C") == CONFIG


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"config": {"Cmd": ["a"], "cmd": ["b"]}}, f"config: key 'cmd' is there already as 'Cmd'; {ANY_CASE}"),
        ({"OS": "linux"}, f"key 'OS' is there already as 'os'; {ANY_CASE}"),
        ({"created": 5}, "created: expected a string, found a number"),
        ({"Variant": ["v8"]}, "Variant: expected a string, found a list"),
        ({"os.features": "a"}, "os.features: expected a list, found a string"),
        ({"config": []}, "config: expected an object, found a list"),
        ({"config": {"Cmd": "sh"}}, "config.Cmd: expected a list, found a string"),
        ({"config": {"Env": ["A=b", 5]}}, "config.Env[1]: expected a string, found a number"),
        ({"config": {"Labels": {"a": True}}}, "config.Labels.a: expected a string, found true or false"),
        ({"config": {"labels": ["a"]}}, "config.labels: expected an object, found a list"),
        ({"config": {"Volumes": {"/data": ""}}}, "config.Volumes./data: expected an object, found a string"),
        ({"config": {"ExposedPorts": ["80"]}}, "config.ExposedPorts: expected an object, found a list"),
        ({"config": {"ArgsEscaped": "no"}}, "config.ArgsEscaped: expected true or false, found a string"),
        ({"rootfs": {"diff_ids": "a"}}, "rootfs.diff_ids: expected a list, found a string"),
        ({"history": {}}, "history: expected a list, found an object"),
        ({"history": [{}, {"created": 1.5}]}, "history[1].created: expected a string, found a number"),
        ({"history": [{"empty_layer": "true"}]}, "history[0].empty_layer: expected true or false, found a string"),
    ],
)
def test_a_field_that_go_cannot_decode_is_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ImageError) as caught:
        check_config_types(CONFIG | changes, docker=False, what="C")
    assert str(caught.value) == f"C: {says}; rebuild the image"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"id": 5}, "id: expected a string, found a number"),
        ({"Size": "5"}, "Size: expected an integer, found a string"),
        ({"Size": 1 << 63}, "Size: expected an integer of 64 bits, found a larger one"),
        ({"container_config": "a"}, "container_config: expected an object, found a string"),
        ({"config": {"OnBuild": "a"}}, "config.OnBuild: expected a list, found a string"),
        ({"config": {"StopTimeout": 1.5}}, "config.StopTimeout: expected an integer, found a number"),
        ({"config": {"Healthcheck": {"Test": "a"}}}, "config.Healthcheck.Test: expected a list, found a string"),
        ({"config": {"Shell": [{}]}}, "config.Shell[0]: expected a string, found an object"),
    ],
)
def test_dockers_own_fields_matter_in_its_images(changes: dict[str, Any], says: str) -> None:
    check_config_types(CONFIG | changes, docker=False, what="C")
    with pytest.raises(ImageError) as caught:
        check_config_types(CONFIG | changes, docker=True, what="C")
    assert str(caught.value) == f"C: {says}; rebuild the image"
