from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nixoci.container.image_tree import User, resolve_user
from nixoci.container.model import Container, HealthcheckOptions, Notify
from nixoci.container.resolve import Health, resolve
from nixoci.errors import ContainerError
from tests.container.samples import make_image

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
    assert resolve("c", Container(image="i", entrypoint=own_entrypoint, cmd=own_cmd), tree).args == args


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("", User(0, 0, (), "/root")),
        ("root", User(0, 0, (0, 4), "/root")),
        ("web", User(33, 34, (34, 4, 5), "/srv")),
        ("33", User(33, 34, (34, 4, 5), "/srv")),
        ("web:tty", User(33, 5, (5,), "/srv")),
        ("web:1234", User(33, 1234, (1234,), "/srv")),
        ("4711", User(4711, 0, (0,), None)),
        ("4711:34", User(4711, 34, (34,), None)),
        ("bare", User(77, 78, (78,), "/")),
    ],
)
def test_users_are_looked_up_in_the_tree(tmp_path: Path, text: str, user: User) -> None:
    assert resolve_user("o", text, make_image(tmp_path)) == user


@pytest.mark.parametrize("text", ["nemo", "web:nemo", "broken", "-1", "99999999999"])
def test_a_user_that_is_not_there_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ContainerError, match=r"^containers\.c\.user: the image has no (user|group)"):
        resolve("c", Container(image="i", user=text, cmd=["x"]), make_image(tmp_path))


def test_a_passwd_that_leads_outside_is_not_followed(tmp_path: Path) -> None:
    image = make_image(tmp_path / "image")
    (tmp_path / "image/rootfs/etc/passwd").unlink()
    assert resolve_user("o", "web", image).uid == 33


def test_variables_and_labels_of_the_container_win(tmp_path: Path) -> None:
    tree = make_image(tmp_path, {"Env": ["A=1", "B=2=3", "odd"], "Labels": {"a": "1", "b": "2"}, "Cmd": ["x"]})
    resolved = resolve("c", Container(image="i", environment={"A": "x"}, labels={"b": "y"}), tree)
    assert resolved.environment == {"A": "x", "B": "2=3"}
    assert resolved.labels == {"a": "1", "b": "y"}


def test_volumes_of_the_image_are_clean_and_yield_to_the_containers(tmp_path: Path) -> None:
    tree = make_image(tmp_path, {"Cmd": ["x"], "Volumes": {"/a/../../b/": {}, "/data": {}, "/c//d": {}}})
    resolved = resolve("c", Container(image="i", volumes=["/srv:/data"], tmpfs=["/c/d:mode=700"]), tree)
    assert resolved.image_volumes == ("/b",)


def test_a_health_check_is_the_images_with_the_containers_changes(tmp_path: Path) -> None:
    image = {"Test": ["CMD-SHELL", "check"], "Interval": 5_000_000_000, "Retries": 7}
    tree = make_image(tmp_path, {"Cmd": ["x"], "Healthcheck": image})
    own = HealthcheckOptions(interval="1m30s", start_period="500ms")
    second = 1_000_000_000
    expected = Health(("check",), True, 90 * second, 30 * second, second // 2, 7)
    assert resolve("c", Container(image="i", healthcheck=own), tree).health == expected
    none = Container(image="i", healthcheck=HealthcheckOptions(test=["NONE"]))
    assert resolve("c", none, tree).health is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cmd": []}, "containers.c.cmd: neither the image nor the container says what to run"),
        ({"cmd": [""]}, "containers.c.entrypoint: the program to run is empty"),
        ({"cmd": ["a\0b"]}, "containers.c.cmd[0]: a NUL character"),
        ({"environment": {"A=": "x"}}, "containers.c.environment: 'A=' cannot be the name of a variable"),
        ({"environment": {"A": "\ud800"}}, "containers.c.environment.A: half a surrogate pair"),
        ({"workdir": "srv"}, "containers.c.workdir: 'srv' is not an absolute path"),
        ({"volumes": ["/a:b"]}, "containers.c.volumes[0]: 'b' is not an absolute path"),
        ({"volumes": ["a b:/c"]}, "containers.c.volumes[0]: source 'a b' is neither an absolute path nor the name"),
        ({"volumes": ["a:/c\n"]}, "containers.c.volumes[0]: 'a:/c\\n' has a control character"),
        ({"volumes": ["a:/c", "b:/c/"]}, "containers.c.volumes: /c is mounted twice"),
        ({"volumes": ["a:/"]}, "containers.c.volumes[0]: nothing can be mounted over the whole tree"),
        ({"devices": ["/etc/passwd"]}, "containers.c.devices[0]: '/etc/passwd' is not a device"),
        ({"devices": ["/dev/a:rr"]}, "containers.c.devices[0]: '/dev/a:rr' is not a device"),
        ({"stop_signal": "SIGNAL"}, "containers.c.stopSignal: 'SIGNAL' is not a signal"),
        ({"notify": Notify.HEALTHY}, "containers.c.notify: neither the image nor the container has a health check"),
        (
            {"healthcheck": HealthcheckOptions(test=["CMD", "x"], interval="5")},
            "containers.c.healthcheck.interval: '5' is not a duration",
        ),
        (
            {"healthcheck": HealthcheckOptions(retries=2)},
            "containers.c.healthcheck.retries: neither the image nor the container has a health check",
        ),
        (
            {"healthcheck": HealthcheckOptions(test=["CMD", "x"], timeout="0s")},
            "containers.c.healthcheck.timeout: '0s' is too short",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ContainerError) as caught:
        resolve("c", Container(image="i", **({"cmd": ["x"]} | options)), make_image(tmp_path))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
