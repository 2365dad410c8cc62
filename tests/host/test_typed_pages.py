"""Pages on other engines and on caches, command by command, as somebody types them who has followed the README."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.host.engines import install_runtime
from tests.host.images import INSIDE, images_dir
from tests.host.machine import Machine
from tests.host.registry import Registry
from tests.host.test_readme import FOLDER, README_IMAGE, Recipe, clone
from tests.support.pages import block

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.host.images import Pair

DOCKER, CONTAINERD, SUBSTITUTER = (f"docs/{name}.md" for name in ("docker", "containerd", "substituter"))
RELEASES = """
head --bytes 300000 /dev/urandom > {folder}/release
old=$(nix-store --add {folder}/release)
echo more >> {folder}/release
new=$(nix-store --add {folder}/release)
"""


class Newcomer(Recipe):
    """A machine with a lock and the clone of the README, whose image comes from the machine's own registry."""

    def block(self, page: str, start: str, before: str = "") -> str:
        """Type the commands of a block in one shell."""
        typed = "\n".join(["set -e", before, *block(page, start).commands])
        name = README_IMAGE.rpartition("/")[2]
        return self.type(typed.replace(f" {name}", f" {self.reference}"))

    def write(self, file: str, text: str) -> None:
        self.machine.run(["tee", f"{FOLDER}/{file}"], input=text)


@pytest.fixture(scope="module")
def newcomer(images: dict[str, Pair]) -> Iterator[Newcomer]:
    with Machine(binds={images_dir(): INSIDE}) as machine, Registry(machine) as registry:
        conf = machine.run(["cat", "/etc/nix/nix.conf"]).stdout
        machine.run(["tee", "/etc/nix/nix.conf"], input=conf.replace("experimental-features = nix-command flakes", ""))
        machine.run(["systemctl", "restart", "nix-daemon"])
        install_runtime(machine)
        clone(machine)
        newcomer = Newcomer(machine, registry.push(images["nginx"].old))
        newcomer.type(f"nixoci add {README_IMAGE} --name web")
        yield newcomer


def test_docker_runs_the_image_of_a_lock_and_forgets_it(newcomer: Newcomer) -> None:
    newcomer.write("docker.json", block(DOCKER, '{"engines":').text)
    newcomer.machine.run(["systemctl", "start", "docker.service"])
    newcomer.block(DOCKER, "$ nixoci generate")
    assert "nginx" in newcomer.page()
    newcomer.block(DOCKER, "$ docker rm")
    assert newcomer.machine.run(["docker", "images", "--quiet"]).stdout == ""
    assert newcomer.type("find /run/nixoci/images /nix/var/nix/gcroots/nixoci-engines -mindepth 1 -type f") == ""
    newcomer.machine.run(["systemctl", "stop", "docker.socket", "docker.service"])
    newcomer.type("rm --recursive none")


def test_containerd_runs_the_image_of_a_lock(newcomer: Newcomer) -> None:
    newcomer.write("engines.json", block(CONTAINERD, '{"engines":').text)
    run = f"ctr --namespace k8s.io run --rm {README_IMAGE} one cat /srv/private/secret"
    assert f"{newcomer.reference} " in newcomer.block(CONTAINERD, "$ nixoci generate")
    assert newcomer.type(run) == "for www-data only\n"
    newcomer.type("nixoci image-store none && nixoci register containerd none --namespace k8s.io")
    newcomer.type("nixoci switch --uninstall")

    newcomer.type("nix-build --attr imageStore")
    assert newcomer.reference in newcomer.block(CONTAINERD, "$ nixoci image-store store result")
    assert newcomer.type(run) == "for www-data only\n"


def test_a_release_is_published_beside_a_cache(newcomer: Newcomer) -> None:
    newcomer.block(SUBSTITUTER, "$ nix-store --generate-binary-cache-key")
    said = newcomer.block(SUBSTITUTER, "$ options=", before=RELEASES.format(folder=FOLDER))
    assert said.startswith("published a delta of ")
    assert "Sig: cache.example-1:" in newcomer.type("cat /srv/cache/*.narinfo")
