from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nixoci.errors import ContainerError, ProcessError
from nixoci.units.generator import generate
from nixoci.units.tools import Tools
from tests.units.samples import executable

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "echo 'quadlet[1]: converting \"web.container\": no such key' >&2; exit 1",
            "containers.web: podman's generator refuses its Quadlet file: no such key",
        ),
        (
            "echo 'quadlet-generator[7]: Warning: web.container specifies the image \"x\" which is short' >&2",
            "containers.web: podman's generator refuses its Quadlet file: web.container specifies the image",
        ),
        (
            "echo 'quadlet-generator[71]: Warning: careful' >&2",
            "containers: podman's generator refuses its Quadlet file: careful",
        ),
        ("echo careful >&2", "containers: podman's generator refuses its Quadlet file: careful"),
        ("true", "containers.web: podman's generator made no web.service and gave no reason"),
    ],
)
def test_what_the_generator_says_or_leaves_out_is_an_error(tmp_path: Path, script: str, message: str) -> None:
    sources, target = tmp_path / "sources", tmp_path / "target"
    sources.mkdir()
    target.mkdir()
    (sources / "web.container").touch()
    program = executable(tmp_path / "quadlet", f"#!/bin/sh\n{script}\n")
    with pytest.raises(ContainerError) as caught:
        generate(sources, target, Tools.find(podman="/p/bin/podman", quadlet=program), user=False, options={})
    assert str(caught.value).startswith(message)


def test_an_error_names_the_part_that_the_file_was_made_from(tmp_path: Path) -> None:
    sources, target = tmp_path / "sources", tmp_path / "target"
    sources.mkdir()
    target.mkdir()
    for name in ("web.container", "app.kube"):
        (sources / name).touch()
    options = {"web.container": "containers.nginx", "app.kube": "quadlets.app.kube"}

    def failure(script: str) -> str:
        program = executable(tmp_path / "quadlet", f"#!/bin/sh\n{script}\n")
        with pytest.raises(ContainerError) as caught:
            generate(sources, target, Tools.find(quadlet=program), user=False, options=options)
        return str(caught.value)

    assert failure("echo 'quadlet[1]: converting \"web.container\": no' >&2; exit 1").startswith("containers.nginx: ")
    assert failure("echo 'quadlet[1]: converting \"app.kube\": no Yaml' >&2; exit 1").startswith("quadlets.app.kube: ")
    # podman-systemd.unit(5): the service of a .kube file is named like the file
    (target / "app.service").touch()
    assert failure("true").startswith("containers.nginx: podman's generator made no web.service and gave no reason")


def test_a_service_does_not_name_the_output_that_its_quadlet_file_is_in(tmp_path: Path) -> None:
    """Otherwise every unit would change, and restart, with anything in the deployment."""
    sources, target = tmp_path / "sources", tmp_path / "target"
    sources.mkdir()
    target.mkdir()
    (sources / "web.container").write_text("[Container]\nImage=x\n")
    # as podman's generator: quadlet.go, `SourcePath`
    script = 'for target; do :; done; { echo [Unit]; echo "SourcePath=$QUADLET_UNIT_DIRS/web.container"; echo A=b; }'
    program = executable(tmp_path / "quadlet", f"#!/bin/sh\n{script} > $target/web.service\n")
    generate(sources, target, Tools.find(podman="/p/bin/podman", quadlet=program), user=False, options={})
    assert (target / "web.service").read_text() == "[Unit]\nA=b\n"


def test_a_missing_generator_is_said(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match="podman"):
        generate(tmp_path, tmp_path, Tools.find(quadlet=str(tmp_path / "none")), user=False, options={})
