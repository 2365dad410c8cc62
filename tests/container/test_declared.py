"""A deployment is held to the same types, whether it comes from JSON, from Nix or from dataclasses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nixoci.bundle.build import build_bundle
from nixoci.container.declared import as_declared
from nixoci.container.deployment import resolve_containers
from nixoci.container.model import Backend, Container, Deployment, HealthcheckOptions, Notify, Volume
from nixoci.document import dump, structure, unstructure
from nixoci.errors import ContainerError, DocumentError
from nixoci.nix_language.default_nix import render_default_nix
from nixoci.nix_language.module import render_module
from nixoci.units.build import build_units
from nixoci.units.tools import Tools
from tests.nix_language.test_default_nix import LOCK

FULL = Deployment(
    images={"web": "/nix/store/x"},
    image_store="/nix/store/y",
    containers={
        "web": Container(
            image="web",
            backend=Backend.BUNDLE,
            notify=Notify.HEALTHY,
            healthcheck=HealthcheckOptions(test=["CMD", "true"]),
            environment={"A": "b"},
        )
    },
    volumes={"pages": Volume(labels={"of": "web"})},
)


def loose(**options: Any) -> Deployment:
    return Deployment(containers={"web": Container(**({"image": "web"} | options))})


def test_what_is_right_stays_as_it_is() -> None:
    assert as_declared(FULL) == FULL
    assert dump(as_declared(FULL)) == dump(FULL)


def test_words_stand_for_choices_and_tuples_for_lists_and_paths_for_strings() -> None:
    given = loose(backend="bundle", notify="healthy", ports=("80:80",), volumes=[Path("/a")])
    web = as_declared(given).containers["web"]
    assert (web.backend, web.notify, web.ports, web.volumes) == (Backend.BUNDLE, Notify.HEALTHY, ["80:80"], ["/a"])


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"ports": 80}, "containers.web.ports: expected a list, got 80"),
    ({"ports": ["80:80", 90]}, "containers.web.ports[1]: expected a string, got 90"),
    ({"environment": {"A": 1}}, "containers.web.environment.A: expected a string, got 1"),
    ({"read_only": "yes"}, 'containers.web.readOnly: expected true or false, got "yes"'),
    ({"image": None}, "containers.web.image: expected a string, got null"),
    ({"backend": "docker"}, "containers.web.backend: expected one of podman, rootfs, bundle, systemd, got 'docker'"),
    ({"healthcheck": {"test": "true"}}, 'containers.web.healthcheck.test: expected a list, got "true"'),
]


@pytest.mark.parametrize(("options", "says"), WRONG)
def test_a_wrong_type_is_named_by_its_option(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    deployment = loose(**options)
    tools = Tools(**dict.fromkeys(Tools.__dataclass_fields__, "/bin/true"))
    for verb in (
        lambda: as_declared(deployment),
        lambda: resolve_containers(deployment),
        lambda: build_units(deployment, tmp_path / "out", tools=tools),
        lambda: render_module(deployment),
        lambda: render_default_nix(LOCK, deployment=deployment),
        lambda: build_bundle(deployment.containers["web"], "/nix/store/x", tmp_path / "out", name="web", profile=None),
    ):
        with pytest.raises(ContainerError) as caught:
            verb()
        assert str(caught.value) == says
    assert list(tmp_path.iterdir()) == []


def test_json_is_held_to_the_same_types() -> None:
    document = unstructure(FULL)
    document["containers"]["web"]["ports"] = 80
    with pytest.raises(DocumentError, match="expected a list, got 80"):
        structure(Deployment, document, what="d", strict=True)
