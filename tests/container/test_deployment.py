from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nixoci.container.deployment import resolve_containers, resolve_deployment
from nixoci.container.model import Backend, Container, Deployment, HealthcheckOptions, Notify
from nixoci.errors import ContainerError, StoreError
from tests.container.samples import make_image

if TYPE_CHECKING:
    from pathlib import Path

    from nixoci.container.resolve import ResolvedContainer


def resolve_one(path: Path, **options: Any) -> ResolvedContainer:
    make_image(path)
    document = Deployment(images={"i": str(path)}, containers={"c": Container(image="i", **options)})
    (made,) = resolve_containers(document)
    return made


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cmd": []}, "containers.c.cmd: neither the image nor the container has a command"),
        ({"cmd": [""]}, "containers.c.cmd[0]: the program to run is empty; name one in entrypoint or cmd"),
        ({"entrypoint": ["", "x"]}, "containers.c.entrypoint[0]: the program to run is empty"),
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
            {"healthcheck": HealthcheckOptions(test=["CMD", "x"], retries=-1)},
            "containers.c.healthcheck.retries: -1; give 1 to",
        ),
        ({"stop_timeout": -1}, "containers.c.stopTimeout: -1 seconds"),
        ({"labels": {"": "x"}}, "containers.c.labels: '' cannot be the name of a label"),
        ({"environment_files": ["e"]}, "containers.c.environmentFiles[0]: 'e' is not an absolute path"),
        ({"workdir": "/not/there"}, "containers.c.workdir: the image has no /not/there"),
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
        resolve_one(tmp_path, **({"cmd": ["x"]} | options))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_containers_come_by_name_and_share_the_tree_of_their_image(tmp_path: Path) -> None:
    make_image(tmp_path)
    containers = {name: Container(image="i", cmd=["x"]) for name in ("b", "a")}
    first, second = resolve_containers(Deployment(images={"i": str(tmp_path)}, containers=containers))
    assert (first.name, second.name) == ("a", "b")
    assert first.tree is second.tree


def test_one_bundle_is_decided_without_the_others(tmp_path: Path) -> None:
    make_image(tmp_path)
    own = Container(image="i", cmd=["x"], backend=Backend.BUNDLE, networks=["none"], depends_on=["missing"])
    broken = Container(image="none such", ports=["x"])
    document = Deployment(images={"i": str(tmp_path)}, containers={"c": own, "d": broken})
    assert [made.name for made in resolve_deployment(document, only="c").containers] == ["c"]
    with pytest.raises(ContainerError, match=r"^containers\.d: no container with the bundle or systemd backend"):
        resolve_deployment(document, only="d")
    with pytest.raises(ContainerError, match=r"^containers\.c\.backend: "):
        resolve_deployment(document, only="c", user=True)


def test_a_path_that_is_no_image_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not an image path"):
        resolve_containers(Deployment(images={"i": str(tmp_path)}, containers={"c": Container(image="i", cmd=["x"])}))
