"""The build script of docs/python.md, run as it stands."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.host.small import small_images
from tests.host.test_generated import ARGUMENTS
from tests.host.test_modules import ENABLE, SECCOMP, Modules, evaluator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.host.machine import Machine
    from tests.host.registry import Registry

OUT = "/root/build-script"
UNIT = "lib/systemd/system/web.service"


@pytest.fixture(scope="module")
def modules(machine: Machine) -> Iterator[Modules]:
    with evaluator(machine) as ready:
        yield ready


@pytest.fixture(scope="module")
def script(registry: Registry) -> list[str]:
    text = (Path(__file__).parents[2] / "docs/python.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    reference = registry.push(small_images().new)
    return ["/opt/nixoci/bin/python3", "-W", "error", "-c", script, reference, OUT, *ARGUMENTS]


@pytest.fixture(scope="module")
def printed(machine: Machine, registry: Registry, script: list[str]) -> list[str]:
    registry.clear()
    return machine.run(script, timeout=600).stdout.splitlines()


def test_a_build_finds_what_was_prefetched(machine: Machine, registry: Registry, printed: list[str]) -> None:
    """The registry may be one that no build reaches."""
    assert printed
    lock = json.loads(machine.run(["cat", f"{OUT}/nixoci.lock.json"]).stdout)
    ((platform,),) = (image["platforms"].values() for image in lock["images"].values())
    asked = [request.path.rpartition("/")[2] for request in registry.requests() if request.method == "GET"]
    # none, if another test has left them in the store
    assert all(asked.count(layer["digest"]) <= 1 for layer in platform["layers"])


def test_it_says_what_it_made(printed: list[str]) -> None:
    assert [line.partition(":")[0] for line in printed] == ["units, built by Nix", "units", "bundle", "delta"]
    assert printed[0].endswith("-nixoci-units")
    assert printed[1] == f"units: {OUT}/units/lib/systemd/system"
    assert printed[2] == "bundle: ['/bin/true']"
    assert printed[3] == "delta: 1 paths"


def test_units_are_the_same_by_nix_by_the_module_and_without_nix(modules: Modules, printed: list[str]) -> None:
    machine = modules.machine
    _, by_module, _ = modules.build(
        ENABLE, SECCOMP, f"imports = [ {OUT}/module.nix ];", select="it.config.virtualisation.nixoci.units"
    )
    by_nix = printed[0].partition(": ")[2]
    texts = [
        machine.run(["cat", f"{place}/{UNIT}"]).stdout.replace(place, "OUT")
        for place in (by_nix, by_module, f"{OUT}/units")
    ]
    assert texts[0] == texts[1]
    tools = re.compile(r"(?<![\w/])/usr(/local)?/s?bin/")  # Nix was given /usr, the script looks for them
    assert tools.sub("", texts[0]) == tools.sub("", texts[2])
    assert "MemoryMax=512M\n" in texts[0]


@pytest.mark.usefixtures("printed")
def test_the_bundle_runs(machine: Machine) -> None:
    root = json.loads(machine.run(["cat", f"{OUT}/bundle/config.json"]).stdout)["root"]["path"]
    assert root == "/run/nixoci/job/root"
    image = machine.run(["nix-build", f"{OUT}/default.nix", "--no-out-link", "-A", "images.small", *ARGUMENTS])
    machine.run(["mkdir", "--parents", root])
    machine.run(["mount", "--bind", "--options", "ro", f"{image.stdout.strip()}/rootfs", root])
    try:
        machine.run(["crun", "run", "--bundle", f"{OUT}/bundle", "job"])
    finally:
        machine.run(["umount", root])


def test_a_second_run_gives_the_same(machine: Machine, script: list[str], printed: list[str]) -> None:
    lock = machine.run(["cat", f"{OUT}/nixoci.lock.json"]).stdout
    assert machine.run(script, timeout=600).stdout.splitlines() == printed
    assert machine.run(["cat", f"{OUT}/nixoci.lock.json"]).stdout == lock
