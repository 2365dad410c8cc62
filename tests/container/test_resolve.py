from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nixoci.container.model import HealthcheckOptions
from nixoci.errors import ContainerError
from tests.container.samples import make_image, resolved

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "own_entrypoint", "own_cmd", "args"),
    [
        (["e"], ["c"], None, [], ("e", "c")),
        (["e"], ["c"], None, ["x"], ("e", "x")),
        (["e"], ["c"], ["y"], [], ("y",)),
        (["e"], ["c"], ["y"], ["x"], ("y", "x")),
        (["e"], ["c"], [], ["x"], ("x",)),
        (None, ["c", ""], None, [], ("c", "")),
        ([""], ["c"], None, [], ("c",)),
        ([""], ["c"], None, ["x"], ("x",)),
        (["e"], ["c"], [""], ["x"], ("x",)),
        (["", ""], ["c"], ["y"], [], ("y",)),
    ],
)
def test_an_entrypoint_replaces_the_command_too(
    *,
    tmp_path: Path,
    entrypoint: list[str] | None,
    cmd: list[str],
    own_entrypoint: list[str] | None,
    own_cmd: list[str],
    args: tuple[str, ...],
) -> None:
    tree = make_image(tmp_path, {"Entrypoint": entrypoint, "Cmd": cmd})
    assert resolved(tree, entrypoint=own_entrypoint, cmd=own_cmd).args == args


@pytest.mark.parametrize(
    ("image", "own", "says"),
    [
        ({"Cmd": [""]}, {}, "image: the program to run is empty"),
        ({"Entrypoint": ["", "e"]}, {"cmd": ["x"]}, "image: the program to run is empty"),
        ({"Entrypoint": ["e"], "Cmd": ["c"]}, {"entrypoint": [""]}, "cmd: neither the image nor the container has a"),
        ({"Entrypoint": ["e"], "Cmd": ["\0"]}, {}, "image: a NUL character"),
        ({"Entrypoint": ["e", "\0"]}, {"cmd": ["x"]}, "image: a NUL character"),
        ({"Entrypoint": [""], "Cmd": [""]}, {"entrypoint": [], "cmd": ["x", "\0"]}, "cmd[1]: a NUL character"),
    ],
)
def test_a_word_of_the_command_is_refused_where_it_comes_from(
    tmp_path: Path, image: dict[str, Any], own: dict[str, Any], says: str
) -> None:
    with pytest.raises(ContainerError) as caught:
        resolved(make_image(tmp_path, image), **own)
    assert str(caught.value).startswith(f"containers.c.{says}")


def test_variables_and_labels_of_the_container_win(tmp_path: Path) -> None:
    tree = make_image(tmp_path, {"Env": ["A=1", "B=2=3", "odd"], "Labels": {"a": "1", "b": "2"}, "Cmd": ["x"]})
    made = resolved(tree, environment={"A": "x"}, labels={"b": "y"})
    assert made.environment == {"A": "x", "B": "2=3"}
    assert made.labels == {"a": "1", "b": "y"}


@pytest.mark.parametrize(
    ("config", "says", "own"),
    [
        (
            {"User": "nemo"},
            "the image has no user 'nemo' in /etc/passwd; name another or give a number; set user",
            {"user": "33"},
        ),
        (
            {"StopSignal": "SIGNAL"},
            "'SIGNAL' is not a signal; expected for example SIGTERM, TERM or 15; set stopSignal",
            {"stop_signal": "INT"},
        ),
        (
            {"Healthcheck": {"Test": [""]}},
            (
                "the health check [''] is not of a known form; expected"
                ' ["CMD", ...], ["CMD-SHELL", command] or ["NONE"]; set healthcheck.test'
            ),
            {"healthcheck": HealthcheckOptions(test=["NONE"])},
        ),
    ],
)
def test_a_value_of_an_image_that_cannot_be_used_names_the_option_that_replaces_it(
    tmp_path: Path, config: dict[str, Any], says: str, own: dict[str, Any]
) -> None:
    tree = make_image(tmp_path, {"Cmd": ["x"]} | config)
    with pytest.raises(ContainerError) as caught:
        resolved(tree)
    assert str(caught.value) == f"containers.c.image: {says}"
    assert resolved(tree, **own).args == ("x",)


def test_labels_of_the_image_that_podman_cannot_be_told_are_left_out(tmp_path: Path) -> None:
    """`--label==x` fails when the container starts, and `--label=a=b=x` is a label with another name."""
    tree = make_image(tmp_path, {"Labels": {"": "x", "a=b": "x", "a b": "", "c": "=\n"}, "Cmd": ["x"]})
    assert resolved(tree).labels == {"a b": "", "c": "=\n"}


def test_relative_paths_of_the_image_begin_at_its_root(tmp_path: Path) -> None:
    tree = make_image(tmp_path, {"Cmd": ["x"], "WorkingDir": "srv", "Volumes": {"[": {}, "/data": {}, "]": {}, "": {}}})
    made = resolved(tree)
    assert (made.workdir, made.image_volumes) == ("/srv", ("/data", "/[", "/]"))


def test_volumes_of_the_image_are_clean_and_yield_to_the_containers(tmp_path: Path) -> None:
    tree = make_image(tmp_path, {"Cmd": ["x"], "Volumes": {"/a/../../b/": {}, "/data": {}, "/c//d": {}}})
    made = resolved(tree, volumes=["/srv:/data"], tmpfs=["/c/d:mode=700"])
    assert made.image_volumes == ("/b",)
