"""The README's recipe for plain podman, command by command, on a machine whose Nix has no flakes and no registry."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.host.images import INSIDE, images_dir
from tests.host.machine import Machine
from tests.host.process import FETCH
from tests.host.registry import Registry
from tests.host.test_generated import ARGUMENTS
from tests.nixpkgs import CHECKOUT
from tests.support.pages import blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.host.images import Pair

FOLDER = "/root/recipe"
README_IMAGE = "docker.io/library/nginx:1.27"
PROFILE = "/nix/var/nix/profiles/nixoci"
NIXPKGS = """
{ system, config, overlays }: {
  nixoci = "/opt/nixoci";
  composefs = "/usr";
  erofs-utils = "/usr";
  cacert = "/etc/ssl";
  podman = { outPath = "/usr"; src = "/usr/src/podman"; };
  crun = "/usr";
  runc = "/usr";
  util-linux = "/usr";
  systemd = "/usr";
  bash = "/usr";
  coreutils = "/usr";
  containerd = "/usr";
}
"""
"""What the recipe builds with, in the place of nixpkgs."""


def recipe_blocks() -> list[list[str]]:
    """Return the commands of each console block of the recipe: those from the first `generate` to the demo."""
    consoles = [each for each in blocks() if (each.page, each.language) == ("README.md", "console")]
    starts = [each.start for each in consoles]
    first = next(number for number, start in enumerate(starts) if "nixoci generate" in start)
    last = next(number for number, start in enumerate(starts) if "./scripts/demo" in start)
    return [each.commands for each in consoles[first:last]]


class Recipe:
    """A machine where the recipe's commands are typed; the README's image comes from the machine's own registry."""

    def __init__(self, machine: Machine, reference: str) -> None:
        self.machine = machine
        self.reference = reference

    def type(self, command: str, *, check: bool = True) -> str:
        """Type a command in the recipe's directory."""
        typed = command.replace(README_IMAGE, self.reference)
        done = self.machine.run(["bash", "-c", typed], cwd=FOLDER, check=check, timeout=600)
        return done.stdout if check else done.stderr

    def page(self) -> str:
        """Fetch the page of the container."""
        return page(self.machine, 8080)

    def image(self) -> str:
        """Return the id of the image that the container runs."""
        return self.machine.run(["podman", "inspect", "--format={{.Image}}", "web"]).stdout.strip()

    def findings(self) -> list[dict[str, Any]]:
        """Return what `nixoci doctor` does not find ok."""
        found = json.loads(self.machine.run(["nixoci", "doctor", "--json"]).stdout)
        return [each for each in found if each["status"] != "ok"]


@pytest.fixture(scope="module")
def recipe(images: dict[str, Pair]) -> Iterator[Recipe]:
    with Machine(binds={images_dir(): INSIDE}) as machine, Registry(machine) as registry:
        conf = machine.run(["cat", "/etc/nix/nix.conf"]).stdout.replace(
            "experimental-features = nix-command flakes", ""
        )
        machine.run(["tee", "/etc/nix/nix.conf"], input=conf)
        machine.run(["systemctl", "restart", "nix-daemon"])
        clone(machine)
        yield Recipe(machine, registry.push(images["nginx"].old))


def clone(machine: Machine) -> None:
    """Put this checkout where the README clones it to, with a lock of the nixpkgs that is here."""
    folder = machine.root / FOLDER.lstrip("/")
    for name in ("nixoci", "nix"):
        shutil.copytree(CHECKOUT / name, folder / "nixoci" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("default.nix", "flake.nix", "flake.lock", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, folder / "nixoci" / name)
    machine.run(["mkdir", "--parents", "/root/source"])
    machine.run(["tee", "/root/source/default.nix"], input=NIXPKGS)
    source = machine.run(["nix-store", "--add-fixed", "--recursive", "sha256", "/root/source"]).stdout.strip()
    machine.run(["nix-store", "--realise", source, "--add-root", "/root/nixpkgs"])  # cannot be fetched again
    nar = machine.run(["nix-hash", "--type", "sha256", "--base32", "/root/source"]).stdout.strip()
    lock = folder / "nixoci/flake.lock"
    document = json.loads(lock.read_text(encoding="utf-8"))
    document["nodes"]["nixpkgs"]["locked"]["narHash"] = f"sha256:{nar}"
    lock.write_text(json.dumps(document), encoding="utf-8")


def test_the_recipe(recipe: Recipe, images: dict[str, Pair]) -> None:
    pin, use, update, roll_back, collect, take_back = recipe_blocks()
    for command in (*pin, *use):
        recipe.type(command)
    assert "nginx" in recipe.page()
    assert recipe.machine.run(["podman", "images", "--quiet", "--filter=readonly=false"]).stdout == ""
    assert [each["check"] for each in recipe.findings()] == ["gc roots of containers"]
    old = recipe.image()
    first = recipe.type(f"readlink --canonicalize {PROFILE}")

    copy = ["skopeo", "copy", "--quiet", images["nginx"].new.inside, f"docker://{recipe.reference}"]
    recipe.machine.run(copy, timeout=300)
    for command in update:
        recipe.type(command)
    new = recipe.image()
    assert new != old
    assert "nginx" in recipe.page()

    for command in roll_back:
        recipe.type(command)
    assert recipe.image() == old
    assert recipe.type(f"readlink --canonicalize {PROFILE}") == first

    for command in collect:
        recipe.type(command)
    assert "nginx" in recipe.page()
    assert recipe.findings() == []
    recipe.type("podman stop --time 0 web && podman start web")
    assert "nginx" in recipe.page()

    for command in take_back:
        recipe.type(command)
    assert recipe.machine.run(["podman", "images", "--quiet"]).stdout == ""
    assert recipe.type("find /etc/containers /etc/systemd /nix/var/nix/profiles -iname '*nixoci*'") == ""
    recipe.type(f"test ! -e {first}")


def test_a_lock_that_changed_is_not_built_from_an_old_expression(recipe: Recipe) -> None:
    recipe.type(f"nixoci add {README_IMAGE} --name web")
    recipe.type("nixoci generate --nixoci nixoci --output default.nix")
    recipe.type(f"nixoci add {README_IMAGE} --name other")
    error = recipe.type("nix-build --no-out-link --attr imageStore", check=False)
    assert f"nixoci: {FOLDER}/nixoci.lock.json has changed since this file was made from it" in error
    recipe.type("rm nixoci.lock.json default.nix")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("", "error: nixoci: this file does not say where nixoci comes from"),
        ("--flake flake:nixoci", "nixoci: the tools come from a flake"),
    ],
)
def test_a_file_without_tools_says_the_way_out(recipe: Recipe, options: str, says: str) -> None:
    recipe.type(f"nixoci add {README_IMAGE} --name web")
    recipe.type(f"nixoci generate {options} --output default.nix")
    error = recipe.type("nix-build --no-out-link --attr imageStore", check=False)
    assert says in error
    assert "--argstr checkout PATH" in error
    recipe.type(f"nix-instantiate --attr imageStore --argstr checkout {FOLDER}/nixoci")
    wrong = recipe.type("nix-build --no-out-link --attr imageStore --argstr checkout /nowhere", check=False)
    assert "error: nixoci: /nowhere is not a checkout of nixoci" in wrong
    recipe.type("rm nixoci.lock.json default.nix")


SLEEP = {"image": "web", "entrypoint": ["sleep", "infinity"], "networks": ["none"], "stopTimeout": 0}
SERVER = {"image": "web", "ports": ["8080:80"]}
SECRET = {"image": "web", "user": "www-data", "networks": ["none"], "secrets": {"key": {"source": "/home/alice/key"}}}
SYSTEM: tuple[dict[str, Any], ...] = (
    {"web": SERVER, "job": SLEEP | {"backend": "bundle"}, "gone": SLEEP, "same": SLEEP},
    {
        "web": SERVER | {"ports": ["8081:80"]},
        "job": SLEEP | {"backend": "bundle"},
        "same": SLEEP,
        "tree": SLEEP | {"backend": "rootfs"},
    },
)
USER: tuple[dict[str, Any], ...] = (
    {"web": SLEEP, "same": SLEEP},
    {
        "web": SLEEP | {"environment": {"A": "b"}},
        "same": SLEEP,
        "secret": SLEEP | SECRET | {"entrypoint": ["sh", "-c", "test -s /run/secrets/key && exec sleep infinity"]},
    },
)
"""The containers of two outputs, of the system and of a user."""


class Switches:
    """Outputs of the system or of a user, and the machine that switches between them."""

    def __init__(self, recipe: Recipe, user: str | None, outputs: tuple[dict[str, Any], ...]) -> None:
        self.recipe, self.machine, self.user = recipe, recipe.machine, user
        self.out = []
        for containers in outputs:
            self.machine.run(["tee", f"{FOLDER}/c.json"], input=json.dumps({"containers": containers}))
            recipe.type("nixoci generate --containers c.json --output c.nix")
            options = [*ARGUMENTS, *(["--arg", "user", "true"] if user else [])]
            build = ["nix-build", "c.nix", "--no-out-link", "--attr", "units", *options]
            self.out.append(self.machine.run(build, cwd=FOLDER, timeout=300).stdout.strip())

    def run(self, *argv: str, check: bool = True) -> str:
        return self.machine.run(argv, user=self.user, check=check, timeout=180).stdout.strip()

    def switch(self, *arguments: str) -> dict[str, str]:
        """Switch, and return the actions by unit; the one that mounts images is always there."""
        options = ["--user"] if self.user else []
        done = json.loads(self.run("nixoci", "switch", *options, "--json", *arguments))
        actions = {each["unit"].removesuffix(".service"): each["action"] for each in done["units"]}
        actions.pop("nixoci-images", None)
        return actions

    def systemctl(self, *arguments: str, check: bool = True) -> str:
        return self.run("systemctl", *(["--user"] if self.user else []), *arguments, check=check)

    def states(self, *names: str) -> list[str]:
        return self.systemctl("is-active", *names, check=False).split()

    def started(self, name: str) -> str:
        return self.systemctl("show", "--property=ActiveEnterTimestampMonotonic", "--value", name)


@pytest.fixture(scope="module")
def switches(recipe: Recipe) -> list[Switches]:
    machine = recipe.machine
    machine.run(["podman", "rm", "--all", "--force", "--time=0"])
    recipe.type(f"nixoci add {README_IMAGE} --name web")
    machine.linger("alice")
    machine.run(["tee", "/home/alice/key"], input="the key\n", user="alice")
    return [Switches(recipe, None, SYSTEM), Switches(recipe, "alice", USER)]


def page(machine: Machine, port: int) -> str:
    """Fetch the page of a server."""
    return machine.run([*FETCH, f"http://127.0.0.1:{port}/"]).stdout


def test_from_one_output_to_the_next_and_back(switches: list[Switches]) -> None:
    each, names = switches[0], list(SYSTEM[0])
    planned = each.switch("--dry-run", each.out[0])
    assert each.switch(each.out[0]) == planned == dict.fromkeys(names, "start")
    assert each.states(*names) == ["active"] * len(names)
    assert "nginx" in page(each.machine, 8080)
    assert each.switch(each.out[0]) == dict.fromkeys(names, "none")

    before = [each.started(name) for name in ("job", "same")]
    done = each.switch(each.out[1])
    assert done == {"web": "restart", "job": "none", "gone": "stop", "same": "none", "tree": "start"}
    assert each.states("web", "gone", "tree") == ["active", "inactive", "active"]
    assert "nginx" in page(each.machine, 8081)

    back = each.switch("--rollback")
    assert back == {"web": "restart", "job": "none", "gone": "start", "same": "none", "tree": "stop"}
    # it has no time to stop, and that is no failure
    assert each.states("gone", "tree") == ["active", "inactive"]
    assert each.switch(each.out[1]) == done
    assert [each.started(name) for name in ("job", "same")] == before


def test_a_user_goes_from_one_output_to_the_next(switches: list[Switches]) -> None:
    each = switches[1]
    assert each.switch(each.out[0]) == {"web": "start", "same": "start"}
    before = each.started("same")
    assert each.switch(each.out[1]) == {"web": "restart", "same": "none", "secret": "start"}
    assert each.states("web", "same", "secret") == ["active"] * 3
    assert each.started("same") == before


def test_a_boot_starts_what_was_switched_to(switches: list[Switches]) -> None:
    machine = switches[0].machine
    machine.run(["nix-collect-garbage"])
    machine.reboot()
    machine.linger("alice")
    for each, containers in zip(switches, (SYSTEM[1], USER[1]), strict=True):
        for unit in containers:
            machine.wait_for_unit(f"{unit}.service", user=each.user)
        assert each.switch(each.out[1]) == dict.fromkeys(containers, "none")
    assert "nginx" in page(machine, 8081)


def test_a_user_s_unit_keeps_its_image_and_reads_its_secret(switches: list[Switches]) -> None:
    each = switches[1]
    machine = each.machine
    read = ["sh", "-c", "cat /run/secrets/key; stat --format=%U:%a /run/secrets/key"]
    assert each.run("podman", "exec", "secret", *read).splitlines() == ["the key", "www-data:400"]
    show = machine.run(["cat", f"{each.out[1]}/lib/systemd/user/secret.service"]).stdout
    (image,) = set(re.findall(r"^X-Image=(.*)$", show, re.MULTILINE))
    folder, base = "/nix/var/nix/gcroots/per-user/alice/nixoci", image.removeprefix("/nix/store/")

    def roots() -> set[str]:
        found = machine.run(["nix-store", "--query", "--roots", image]).stdout
        return {name for name in ("secret", "same", "stale") if f"{folder}/{name}/{base}" in found}

    each.run("mkdir", f"{folder}/stale")
    each.run("touch", f"{folder}/stale/{base}")
    assert roots() == {"secret", "same", "stale"}
    each.systemctl("stop", "secret")
    assert each.states("secret") == ["inactive"]
    assert roots() == {"same", "stale"}
    done = json.loads(each.run("nixoci", "gc-roots", "--json"))
    assert {(root["container"], root["change"]) for root in done if root["engine"] == "systemd"} == {
        ("same", "kept"),
        ("web", "kept"),
        ("stale", "removed"),
    }
    assert {root["container"] for root in done if root["engine"] == "podman"} == {"same", "web"}
    assert roots() == {"same"}

    # a Nix that lets no user make such a directory
    closed = "rm --recursive /nix/var/nix/gcroots/per-user/alice && chmod 755 /nix/var/nix/gcroots/per-user"
    machine.run(["sh", "-c", closed])
    each.systemctl("start", "secret")
    link = "/home/alice/.local/state/nixoci/gc-roots/unit-secret"
    assert link in machine.run(["nix-store", "--query", "--roots", image]).stdout
    each.systemctl("stop", "secret")
    assert link not in machine.run(["nix-store", "--query", "--roots", image]).stdout


def documented(name: str, start: str) -> list[str]:
    """Return the commands of a block of a page, by its start."""
    (block,) = (each for each in blocks() if each.page == name and each.start.startswith(start))
    return block.commands


def test_units_of_a_lock_are_built_and_put_in_place(recipe: Recipe, switches: list[Switches]) -> None:
    containers = {"containers": {"site": SERVER | {"ports": ["8082:80"]}}}
    recipe.machine.run(["tee", f"{FOLDER}/containers.json"], input=json.dumps(containers))
    for command in documented("docs/containers.md", "$ nixoci generate --nixoci nixoci --containers"):
        recipe.type(command)
    assert "nginx" in page(recipe.machine, 8082)
    assert switches[0].states("site", "web") == ["active", "inactive"]


def test_a_user_s_podman_runs_the_images(recipe: Recipe) -> None:
    recipe.type(f"nixoci add {README_IMAGE} --name web")
    recipe.type("cp --recursive nixoci nixoci.lock.json /home/alice && chown --recursive alice /home/alice/nixoci*")
    recipe.machine.linger("alice")
    said = [
        recipe.machine.run(
            ["bash", "-c", command.replace(README_IMAGE, recipe.reference)],
            user="alice",
            cwd="/home/alice",
            timeout=300,
        ).stdout
        for command in [*documented("docs/rootless.md", "$ nixoci generate"), "nixoci switch --user --uninstall"]
    ]
    assert said[2] == "root\n"
    assert recipe.machine.run(["podman", "images", "--quiet"], user="alice").stdout == ""


COMPOSE = """
services:
  site:
    image: {image}
    ports: ["8083:80"]
"""


def test_a_project_of_compose_becomes_units_and_a_module(recipe: Recipe) -> None:
    recipe.machine.run(["tee", f"{FOLDER}/compose.yaml"], input=COMPOSE.format(image=recipe.reference))
    recipe.machine.run(["touch", "/etc/resolv.conf"])  # podman's name server wants one
    for start in ("$ nixoci import --add", "$ nixoci module containers.json"):
        for command in documented("docs/from-compose.md", start):
            recipe.type(command)
    recipe.type("nix-instantiate --parse containers.nix")
    recipe.type("nixoci switch $(nix-build --no-out-link --attr units)")
    assert "nginx" in page(recipe.machine, 8083)


WITHOUT_NIX = f"""
mkdir --parents /usr/lib/nixoci
mount --bind /home/nixoci /usr/lib/nixoci
mount --bind {FOLDER}/root/etc/containers/storage.rootful.conf.d /etc/containers/storage.rootful.conf.d
mount -t tmpfs tmpfs /nix
exec podman run --rm --pull=never --network=none --entrypoint=stat "$0" --format=%U /srv/private
"""
"""A machine as if it had booted from the image of an operating system; the test host's /usr is no plain file system."""


def test_a_store_for_machines_without_nix(recipe: Recipe) -> None:
    for command in documented("docs/os-images.md", "$ nix-build --attr images.web"):
        recipe.type(command)
    recipe.type("mv root/usr/lib/nixoci /home/nixoci")
    boot = ["unshare", "--mount", "--propagation=private", "sh", "-e", "-c", WITHOUT_NIX, recipe.reference]
    assert recipe.machine.run(boot).stdout == "www-data\n"
