"""The modules, evaluated with nixpkgs' own lib, and their units, run by the systemd of the test host."""

from __future__ import annotations

import configparser
import json
import shutil
import tomllib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nixoci.container.model import Container, Deployment
from nixoci.container.schema import json_schema
from nixoci.image_store.storage_conf import render_storage_conf
from tests.host.containers import link_units
from tests.host.locks import locked, write_lock
from tests.host.process import FETCH
from tests.nixpkgs import CHECKOUT, nixpkgs
from tests.support.pages import block

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.host.images import Pair
    from tests.host.machine import Machine
    from tests.host.registry import Registry

FOLDER = "/root/modules"
LOCK = f"virtualisation.nixoci.lock = {FOLDER}/project/nixoci.lock.json;"
ENABLE = "virtualisation.nixoci.enable = true;"
SECCOMP = 'virtualisation.nixoci.seccompProfile = "/usr/share/containers/seccomp.json";'
THREE = """
virtualisation.nixoci.containers = {
  web = { image = "nginx"; ports = [ "8080:80" ]; dependsOn = [ "cache" ]; };
  cache = { image = "redis"; backend = "rootfs"; ports = [ "127.0.0.1:6379:6379" ]; };
  app = {
    image = "python";
    backend = "bundle";
    networks = [ "host" ];
    entrypoint = [ "/bin/sleep" ];
    cmd = [ "infinity" ];
    environment.HOSTILE = "a\\"b'c $HOME %n \\${x} grüße";
  };
};
"""


class Modules:
    """Evaluates and builds modules."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def expression(self, *modules: str, select: str, home: bool = False) -> str:
        """Return an expression of the module system's result `it`."""
        texts = " ".join(f"({{ lib, ... }}: {{ {text} }})" for text in modules)
        return (
            f"let lib = import {FOLDER}/nixpkgs/lib; it = import {FOLDER}/checkout/tests/host/modules.nix"
            f" {{ inherit lib; checkout = {FOLDER}/checkout; home = {str(home).lower()}; modules = [ {texts} ]; }};"
            f" in {select}"
        )

    def value(self, *modules: str, select: str, home: bool = False) -> Any:
        """Return the JSON value of what is selected."""
        command = ["nix-instantiate", "--eval", "--strict", "--json", "--read-write-mode", "-"]
        done = self.machine.run(command, input=self.expression(*modules, select=select, home=home))
        return json.loads(done.stdout)

    def refusal(self, *modules: str, select: str = "it.config.virtualisation.nixoci.containers") -> str:
        """Return what Nix says to modules that do not evaluate."""
        command = ["nix-instantiate", "--eval", "--strict", "--json", "-"]
        done = self.machine.run(command, input=self.expression(*modules, select=select), check=False)
        assert done.returncode != 0
        return done.stderr

    def broken(self, *modules: str, home: bool = False) -> list[str]:
        """Return the messages of the assertions that do not hold."""
        select = "map (each: each.message) (lib.filter (each: !each.assertion) it.config.assertions)"
        messages: list[str] = self.value(*modules, select=select, home=home)
        return messages

    def build(self, *modules: str, select: str, home: bool = False, check: bool = True) -> tuple[int, str, str]:
        """Build what is selected."""
        command = ["nix-build", "--no-out-link", "-E", self.expression(*modules, select=select, home=home)]
        done = self.machine.run(command, check=check, timeout=600)
        return done.returncode, done.stdout.strip(), done.stderr


@contextmanager
def named_store(machine: Machine, store: str) -> Iterator[None]:
    """Name an image store as NixOS does, as long as the test needs it."""
    conf = render_storage_conf(Path(store))
    file = machine.root / "etc/containers/storage.conf"
    before = file.read_text(encoding="utf-8") if file.exists() else None
    machine.run(["tee", f"/{file.relative_to(machine.root)}"], input=conf)
    yield
    if before is None:
        file.unlink()
    else:
        machine.run(["tee", f"/{file.relative_to(machine.root)}"], input=before)


@contextmanager
def evaluator(machine: Machine) -> Iterator[Modules]:
    """Put the modules and nixpkgs' lib on the machine, as long as tests need them."""
    lib = nixpkgs() / "lib"  # skips the test if there is none
    folder = machine.root / FOLDER.lstrip("/")
    for name in ("modules", "nix", "nixoci", "tests/host"):
        shutil.copytree(CHECKOUT / name, folder / "checkout" / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(lib, folder / "nixpkgs/lib")
    yield Modules(machine)
    machine.run(["rm", "--recursive", "--force", FOLDER])


def write_project(machine: Machine, registry: Registry, images: dict[str, Pair]) -> None:
    """Write the lock that `LOCK` names."""
    names = ("nginx", "python", "redis")
    entries = {name: locked(images[name].new, registry.push(images[name].new)) for name in names}
    write_lock(machine, f"{FOLDER}/project", entries)


@pytest.fixture(scope="module")
def modules(machine: Machine) -> Iterator[Modules]:
    with evaluator(machine) as ready:
        yield ready


@pytest.fixture(scope="module")
def project(modules: Modules, registry: Registry, images: dict[str, Pair]) -> Modules:
    write_project(modules.machine, registry, images)
    return modules


def test_defaults_are_those_of_the_model(modules: Modules) -> None:
    image = 'virtualisation.nixoci.containers.web.image = "nginx";'
    found = modules.value(image, select="it.config.virtualisation.nixoci.containers.web")
    properties = json_schema(Container)["$defs"]["Container"]["properties"]
    assert set(found) == set(properties)
    plain = {key: value["default"] for key, value in properties.items() if "default" in value and "$ref" not in value}
    assert {key: found[key] for key in plain} == plain


def test_every_class_of_the_document_is_an_option(modules: Modules) -> None:
    found = modules.value(select="lib.attrNames it.options.virtualisation.nixoci")
    assert set(json_schema(Deployment)["$defs"]["Deployment"]["properties"]) <= set(found)


def test_definitions_of_several_modules_merge(modules: Modules) -> None:
    web = "virtualisation.nixoci.containers.web"
    found = modules.value(
        f'{web} = {{ image = "nginx"; environment.A = "1"; settings.unit.Service.Nice = 5; }};',
        f'{web} = {{ environment.B = "2"; environment.A = lib.mkForce "3"; }};',
        f'{web}.settings.unit.Service.Slice = "x.slice";',
        'virtualisation.nixoci.backend = "bundle";',
        select="it.config.virtualisation.nixoci.containers.web",
    )
    assert found["environment"] == {"A": "3", "B": "2"}
    assert found["settings"]["unit"]["Service"] == {"Nice": 5, "Slice": "x.slice"}
    assert found["backend"] == "bundle"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('web = { image = "x"; port = [ ]; };', "containers.web.port' does not exist"),
        ('web = { image = "x"; ports = "80"; };', "containers.web.ports' is not of type `list of string'"),
        ('web = { image = "x"; backend = "docker"; };', "containers.web.backend' is not of type `one of"),
        ("web = { };", "containers.web.image' was accessed but has no value defined"),
    ],
)
def test_a_wrong_option_is_named(modules: Modules, text: str, said: str) -> None:
    assert said in modules.refusal(f"virtualisation.nixoci.containers = {{ {text} }};")


@pytest.mark.parametrize("home", [False, True])
def test_a_lock_that_is_missing(modules: Modules, home: bool) -> None:
    lock = "virtualisation.nixoci.lock = /nowhere/nixoci.lock.json;"
    (message,) = modules.broken(ENABLE, lock, *["virtualisation.nixoci.users.alice = { };"] * (not home), home=home)
    assert message.startswith("virtualisation.nixoci.lock: /nowhere/nixoci.lock.json does not exist; make it with")


@pytest.mark.parametrize("home", [False, True])
def test_an_image_that_is_unknown(project: Modules, home: bool) -> None:
    (message,) = project.broken(ENABLE, LOCK, 'virtualisation.nixoci.containers.web.image = "ngnix";', home=home)
    assert message.startswith("virtualisation.nixoci.containers.web.image: no image ngnix; known are nginx, python,")


@pytest.mark.parametrize("home", [False, True])
def test_an_image_by_its_reference(project: Modules, registry: Registry, images: dict[str, Pair], home: bool) -> None:
    """The reference of the lock names the image; another one comes with the command that pins it."""
    reference = registry.push(images["nginx"].new)
    web = "virtualisation.nixoci.containers.web.image"
    given = (ENABLE, LOCK, f'{web} = "{reference}";')
    assert project.broken(*given, home=home) == []
    assert project.value(*given, select=f"it.config.{web}", home=home) == "nginx"
    (message,) = project.broken(ENABLE, LOCK, f'{web} = "docker.io/library/redis:7";', home=home)
    assert message.startswith(f"{web}: no image docker.io/library/redis:7; known are nginx, python, redis;")
    assert message.endswith("`nixoci add docker.io/library/redis:7`")


def test_an_image_by_a_reference_without_its_registry(modules: Modules, images: dict[str, Pair]) -> None:
    """podman and Docker take nginx:1.27 for docker.io/library/nginx:1.27, and no tag for latest."""
    references = {"web": "docker.io/library/nginx:1.27", "proxy": "docker.io/traefik/traefik:latest"}
    entries = {name: locked(images["nginx"].new, reference) for name, reference in references.items()}
    write_lock(modules.machine, f"{FOLDER}/short", entries)
    given = (ENABLE, f"virtualisation.nixoci.lock = {FOLDER}/short/nixoci.lock.json;")
    containers = "virtualisation.nixoci.containers"
    declared = f'{containers} = {{ a.image = "nginx:1.27"; b.image = "traefik/traefik"; c.image = "nginx:1.2"; }};'
    found = modules.value(*given, declared, select=f"lib.mapAttrs (_: each: each.image) it.config.{containers}")
    assert found == {"a": "web", "b": "proxy", "c": "nginx:1.2"}


@pytest.mark.parametrize("path", ["virtualisation.nixoci.", "virtualisation.nixoci.users.alice.", "home"])
def test_what_a_backend_cannot_honor_is_refused_before_a_build(project: Modules, path: str) -> None:
    home = path == "home"
    prefix = "virtualisation.nixoci." if home else path
    container = 'image = "nginx"; backend = "bundle"; ports = [ "80:80" ]; settings.runtime.root = { };'
    messages = project.broken(ENABLE, LOCK, f"{prefix}containers.a = {{ {container} }};", home=home)
    options = {message.partition(":")[0].removeprefix(f"{prefix}containers.a.") for message in messages}
    of_users = {"backend"} if path != "virtualisation.nixoci." else set()
    assert options == {"networks", "ports", "settings.runtime.root"} | of_users
    right = 'image = "nginx"; settings.quadlet.Notify = "healthy";'
    assert project.broken(ENABLE, LOCK, f"{prefix}containers.a = {{ {right} }};", home=home) == []


OF_OCI_CONTAINERS = {
    "imageFile": ("/image.tar", "nixoci add docker-archive:FILE"),
    "imageStream": ("/stream", "nixoci add docker-archive:FILE"),
    "login": ('{ username = "me"; }', "podman login"),
    "log-driver": ('"journald"', "use logDriver"),
    "preRunExtraOptions": ("[ ]", "settings.quadlet.GlobalArgs"),
    "podman": ('{ user = "alice"; }', "virtualisation.nixoci.users.NAME.containers"),
    "pull": ('"never"', "leave it out"),
    "autoRemoveOnStop": ("true", "leave it out"),
}
"""The options of NixOS's `virtualisation.oci-containers.containers.NAME` that a container here does not have."""

SHARED_WITH_OCI_CONTAINERS = {
    *("image", "cmd", "labels", "entrypoint", "environment", "environmentFiles", "ports", "user", "volumes", "workdir"),
    *(
        "serviceName",
        "dependsOn",
        "hostname",
        "extraOptions",
        "autoStart",
        "capabilities",
        "devices",
        "privileged",
        "networks",
    ),
}


@pytest.mark.parametrize("option", OF_OCI_CONTAINERS)
def test_an_option_of_oci_containers_names_what_takes_its_place(modules: Modules, option: str) -> None:
    value, instead = OF_OCI_CONTAINERS[option]
    said = modules.refusal(f'virtualisation.nixoci.containers.web = {{ image = "nginx"; {option} = {value}; }};')
    assert f"error: virtualisation.nixoci.containers.web.{option}" in said
    assert instead in said


def test_the_other_options_of_oci_containers_are_options(modules: Modules) -> None:
    found = modules.value(
        'virtualisation.nixoci.containers.web.image = "nginx";',
        select="lib.attrNames it.config.virtualisation.nixoci.containers.web",
    )
    assert set(found) >= SHARED_WITH_OCI_CONTAINERS


WEB = 'virtualisation.nixoci.containers.web.image = "nginx";'
ALICES = 'virtualisation.nixoci.users.alice.containers.web.image = "nginx";'
EXEC = 'serviceConfig.ExecStart = "/bin/true";'


@pytest.mark.parametrize(
    ("declared", "other", "said"),
    [
        (WEB, f"systemd.services.web = {{ {EXEC} }};", "containers.web: its unit is web.service, and so is systemd."),
        (
            "virtualisation.nixoci.volumes.data = { };",
            f"systemd.services.data-volume = {{ {EXEC} }};",
            "volumes.data: its unit is data-volume.service, and so is systemd.services.data-volume; rename one",
        ),
        (
            'virtualisation.nixoci.containers.nixoci-gc-roots.image = "nginx";',
            "",
            "containers.nixoci-gc-roots: its unit is nixoci-gc-roots.service",
        ),
        (ALICES, f"systemd.user.services.web = {{ {EXEC} }};", "users.alice.containers.web: its unit is web.service"),
    ],
)
def test_a_unit_of_the_systems_own_name(project: Modules, declared: str, other: str, said: str) -> None:
    (message,) = project.broken(ENABLE, LOCK, declared, other)
    assert message.startswith(f"virtualisation.nixoci.{said}")


def test_a_unit_of_a_homes_own_name(project: Modules) -> None:
    (message,) = project.broken(ENABLE, LOCK, WEB, "systemd.user.services.web = { };", home=True)
    assert message.startswith("virtualisation.nixoci.containers.web: its unit is web.service, and so is systemd.user.")


def test_a_service_that_only_adds_to_a_containers_unit(project: Modules) -> None:
    """NixOS makes a drop-in of it, because the unit itself is in a package."""
    adds = "systemd.services.web.serviceConfig.Nice = 5; systemd.user.services.web = { serviceConfig = { }; };"
    assert project.broken(ENABLE, LOCK, WEB, ALICES, adds) == []


def test_a_container_of_podmans_own_name(project: Modules) -> None:
    """The start of either would remove the other, which is another container to its own unit."""
    other = "virtualisation.oci-containers"
    roots = f'{other}.containers.web = {{ podman = {{ sdnotify = "conmon"; }}; }};'
    (message,) = project.broken(ENABLE, LOCK, WEB, roots)
    assert message == (
        "virtualisation.nixoci.containers.web: podman has one container of a name, and"
        f" {other}.containers.web has this one; rename one of them, or leave one out"
    )
    alices = f'{other}.containers.web.podman.user = "alice";'
    (message,) = project.broken(ENABLE, LOCK, ALICES, alices)
    assert message.startswith("virtualisation.nixoci.users.alice.containers.web: podman has one container of a name")
    bundle = 'virtualisation.nixoci.containers.web = { image = "nginx"; backend = "bundle"; networks = [ "host" ]; };'
    docker = f'{other} = {{ backend = "docker"; containers.web.podman = null; }};'
    for given in ((WEB, alices), (ALICES, roots), (bundle, roots), (WEB, docker)):
        assert project.broken(ENABLE, LOCK, *given) == []


def test_podman_is_enabled_and_stays_so_while_it_runs_containers(project: Modules) -> None:
    assert project.value(ENABLE, LOCK, WEB, select="it.config.virtualisation.podman.enable") is True
    off = "virtualisation.podman.enable = false;"
    (message,) = project.broken(ENABLE, LOCK, WEB, off)
    assert message.startswith("virtualisation.podman.enable: false, but podman runs virtualisation.nixoci.containers.w")
    (message,) = project.broken(ENABLE, LOCK, ALICES, off)
    assert "podman runs virtualisation.nixoci.users.alice.containers.web;" in message
    bundle = 'virtualisation.nixoci.containers.app = { image = "nginx"; backend = "bundle"; networks = [ "host" ]; };'
    assert project.broken(ENABLE, LOCK, bundle, off) == []


def test_an_older_systemd_runs_no_containers_by_itself(project: Modules) -> None:
    """It ignores options that keep a container apart from the host."""
    older = 'systemd.package = { type = "derivation"; outPath = "/usr"; name = "systemd"; version = "257.9"; };'
    alone = 'virtualisation.nixoci.containers.app = { image = "nginx"; backend = "systemd"; networks = [ "none" ]; };'
    assert project.broken(ENABLE, LOCK, alone) == []
    (message,) = project.broken(ENABLE, LOCK, alone, older)
    assert message.startswith("systemd.package: 257.9, but virtualisation.nixoci.containers.app need 258 or newer;")
    assert project.broken(ENABLE, LOCK, WEB, older) == []


def test_engines_are_enabled_and_get_the_images_of_the_store(project: Modules) -> None:
    engines = 'virtualisation.nixoci.engines = [ "docker" "kubernetes" ];'
    config = "it.config.virtualisation"
    enabled = (
        f"{{ podman = {config}.podman.enable; docker = {config}.docker.enable; cri = {config}.containerd.enable; }}"
    )
    assert project.value(ENABLE, LOCK, select=enabled) == {"podman": True, "docker": False, "cri": False}
    assert project.value(ENABLE, LOCK, engines, select=enabled) == {"podman": False, "docker": True, "cri": True}
    wanted = project.value(ENABLE, LOCK, engines, select="it.config.systemd.targets.multi-user.wants")
    assert wanted == ["nixoci-register-docker.service", "nixoci-register-kubernetes.service"]
    store = project.value(ENABLE, LOCK, engines, select=f'"${{{config}.nixoci.imageStore}}"')
    assert project.value(ENABLE, LOCK, engines, select="it.config.systemd.services.docker.restartTriggers") == [store]
    stored = 'virtualisation.nixoci.engines = [ "docker-containerd" ];'
    assert project.value(ENABLE, LOCK, stored, select=enabled) == {"podman": False, "docker": True, "cri": True}
    settings = project.value(ENABLE, LOCK, stored, select=f"{config}.docker.daemon.settings")
    assert settings == {"features": {"containerd-snapshotter": True}}
    _, units, _ = project.build(ENABLE, LOCK, SECCOMP, engines, select=f"{config}.nixoci.units")
    made = project.machine.run(["cat", f"{units}/lib/systemd/system/nixoci-register-kubernetes.service"]).stdout
    assert f"register containerd {store} --namespace k8s.io --ctr /usr/bin/ctr\n" in made
    assert f" {store}\n" in project.machine.run(["cat", f"{units}/lib/systemd/system/nixoci-images.service"]).stdout


def test_without_a_lock_there_are_no_images(modules: Modules) -> None:
    (message,) = modules.broken(ENABLE, 'virtualisation.nixoci.containers.web.image = "nginx";')
    assert message.startswith("virtualisation.nixoci.containers.web.image: no image nginx; known are none; add it to")


def test_images_of_the_lock_give_way_to_those_that_are_declared(project: Modules) -> None:
    mine = "virtualisation.nixoci.images = { nginx = /srv/mine; more = /srv/more; };"
    select = "lib.mapAttrs (_: toString) it.config.virtualisation.nixoci.images"
    found = project.value(ENABLE, LOCK, mine, select=select)
    assert set(found) == {"more", "nginx", "python", "redis"}
    assert found["nginx"] == "/srv/mine"


@pytest.mark.parametrize("page", ["README.md", "docs/rootless.md"])
def test_the_modules_of_the_documentation(project: Modules, images: dict[str, Pair], page: str) -> None:
    text = block(page, "{ virtualisation.nixoci = {").text
    folder = f"{FOLDER}/documented"
    write_lock(project.machine, folder, {"web": locked(images["nginx"].new, "docker.io/library/nginx:1.27")})
    project.machine.run(["tee", f"{folder}/module.nix"], input=text)
    module = f"imports = [ {folder}/module.nix ];"
    assert project.broken(module) == []
    select = "{ inherit (it.config.virtualisation.nixoci) containers users; }"
    found = project.value(module, select=select)
    containers = found["users"]["alice"]["containers"] if page == "docs/rootless.md" else found["containers"]
    assert containers["web"]["image"] == "web"


def test_lists_of_several_modules_add_up_and_are_checked_together(project: Modules) -> None:
    web = "virtualisation.nixoci.containers.web"
    given = (f'{web} = {{ image = "nginx"; ports = [ "80:80" ]; }};', f'{web}.ports = [ "80:81" ];')
    ports = project.value(*given, select=f"it.config.{web}.ports")
    assert sorted(ports) == ["80:80", "80:81"]
    select = "it.config.virtualisation.nixoci.units"
    status, _, stderr = project.build(ENABLE, LOCK, SECCOMP, *given, select=select, check=False)
    assert status != 0
    taken = "port 80/tcp of the host is taken by virtualisation.nixoci.containers.web.ports[0]"
    assert f"error: virtualisation.nixoci.containers.web.ports[1]: {taken}" in stderr, stderr


def test_disabled_is_nothing(modules: Modules) -> None:
    select = "{ inherit (it.config) assertions; inherit (it.config.systemd) packages targets; }"
    assert modules.value(LOCK, select=select) == {"assertions": [], "packages": [], "targets": {}}


def test_images_alone_are_in_podmans_store_and_make_no_units(project: Modules) -> None:
    select = "{ inherit (it.config.systemd) packages; storage = it.config.virtualisation.containers.storage.settings; }"
    found = project.value(ENABLE, LOCK, select=select)
    _, store, _ = project.build(ENABLE, LOCK, select="it.config.virtualisation.nixoci.imageStore")
    options = {"additionalimagestores": [store], "overlay": {"mountopt": "redirect_dir=on"}}
    assert found == {"packages": [], "storage": {"storage": {"options": options}}}
    # elsewhere than on NixOS, where storage.conf has more, it is the store's own
    own = tomllib.loads(project.machine.run(["cat", f"{store}/storage.conf"]).stdout)
    assert own["storage"]["options"] == found["storage"]["storage"]["options"]


@pytest.mark.parametrize(
    ("mountopt", "warned"), [("nodev", True), ("nodev,metacopy=on", False), ("noatime,redirect_dir=on", False)]
)
def test_mount_options_with_which_commits_lose_content_are_warned_of(
    project: Modules, mountopt: str, warned: bool
) -> None:
    option = "virtualisation.containers.storage.settings.storage.options.overlay.mountopt"
    given = (ENABLE, LOCK, f'{option} = "{mountopt}";')
    assert project.value(*given, select=f"it.config.{option}") == mountopt
    warnings = project.value(*given, select="it.config.warnings")
    assert [warning.partition(":")[0] for warning in warnings] == ([option] if warned else [])
    assert all(warning.endswith("; add redirect_dir=on") for warning in warnings)
    assert project.value(*given[:2], select="it.config.warnings") == []


def test_plain_podman_runs_images_that_are_only_declared(project: Modules) -> None:
    machine = project.machine
    _, store, _ = project.build(ENABLE, LOCK, select="it.config.virtualisation.nixoci.imageStore")
    with named_store(machine, store):
        listed = json.loads(machine.run(["podman", "images", "--format=json"]).stdout)
        (name,) = (name for image in listed for name in image["Names"] if "nginx" in name)
        run = ["podman", "run", "--rm", "--pull=never", "--network=none", name, "stat", "--format=%U:%a", "/etc/shadow"]
        assert machine.run(run, timeout=60).stdout == "root:640\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'a = { image = "nginx"; ports = [ "80:80" ]; }; b = { image = "redis"; ports = [ "80:81" ]; };',
            "containers.b.ports[0]: port 80/tcp of the host is taken by {0}containers.a.ports[0]; publish another port",
        ),
        (
            'a = { image = "nginx"; dependsOn = [ "b" ]; }; b = { image = "nginx"; dependsOn = [ "a" ]; };',
            "containers.a.dependsOn: a circle, a -> b -> a",
        ),
        ('a = { image = "nginx"; dependsOn = [ "c" ]; };', "containers.a.dependsOn: no container 'c'"),
        ('a = { image = "nginx"; backend = "bundle"; ports = [ "80" ]; };', "containers.a."),
    ],
)
@pytest.mark.parametrize("path", ["virtualisation.nixoci.", "virtualisation.nixoci.users.alice.", "home"])
def test_what_the_build_refuses_it_names(project: Modules, path: str, text: str, said: str) -> None:
    home = path == "home"
    prefix = "virtualisation.nixoci." if home else path
    given = (ENABLE, LOCK, SECCOMP, f"{prefix}containers = {{ {text} }};")
    status, _, stderr = project.build(*given, select=f"it.config.{prefix}units", home=home, check=False)
    assert status != 0
    assert f"error: {prefix}{said.format(prefix)}" in stderr, stderr


def test_three_containers_one_per_backend_start(project: Modules) -> None:
    machine = project.machine
    given = (ENABLE, LOCK, SECCOMP, THREE)
    wanted = project.value(*given, select="it.config.systemd.targets.multi-user.wants")
    assert wanted == ["app.service", "cache.service", "web.service"]
    _, units, _ = project.build(*given, select="builtins.head it.config.systemd.packages")
    (store,) = project.value(
        *given,
        select="it.config.virtualisation.containers.storage.settings.storage.options.additionalimagestores",
    )
    with named_store(machine, store):
        found = link_units(machine, units)
        try:
            machine.run(["systemctl", "start", *wanted], timeout=120)
            for unit in wanted:
                assert machine.run(["systemctl", "is-active", unit]).stdout.strip() == "active"
            environment = machine.run(["crun", "exec", "app", "/usr/bin/env"]).stdout
            assert "HOSTILE=a\"b'c $HOME %n ${x} grüße\n" in environment
        finally:
            machine.run(["systemctl", "stop", *wanted], timeout=60, check=False)
            machine.run(["systemctl", "disable", *found], check=False)


def test_units_have_the_names_that_the_options_give_them(project: Modules) -> None:
    declared = """
    virtualisation.nixoci.containers = {
      first = { image = "redis"; backend = "rootfs"; serviceName = "one"; ulimits = { nofile = 64; core = "0:-1"; }; };
      second = { image = "redis"; backend = "bundle"; networks = [ "none" ]; dependsOn = [ "first" ]; };
    };
    virtualisation.nixoci.quadlets."app.kube".settings.quadlet.Yaml = "/etc/app.yaml";
    virtualisation.nixoci.quadlets."base.image" = {
      autoStart = false;
      settings.quadlet.Image = "docker.io/library/base:1";
    };
    """
    given = (ENABLE, LOCK, SECCOMP, declared)
    wanted = project.value(*given, select="it.config.systemd.targets.multi-user.wants")
    assert sorted(wanted) == ["app.service", "one.service", "second.service"]
    _, units, _ = project.build(*given, select="builtins.head it.config.systemd.packages")
    folder = f"{units}/lib/systemd/system"
    assert {*wanted, "base-image.service"} <= set(project.machine.run(["ls", folder]).stdout.split())
    # the unit of a bundle is built without the other containers
    assert "Requires=one.service\n" in project.machine.run(["cat", f"{folder}/second.service"]).stdout


def test_the_machine_of_the_nixos_test_evaluates_and_its_units_build(project: Modules) -> None:
    """checks.nixos as far as it goes without the rest of nixpkgs; a real image takes the place of its own."""
    _, image, _ = project.build(ENABLE, LOCK, select="it.config.virtualisation.nixoci.images.nginx")
    packages = "nixoci = null; pkgsStatic.busybox = null; dockerTools.streamLayeredImage = _: null;"
    stubs = f'{{ {packages} runCommand = _: _: _: "/image"; testers.runNixOSTest = test: test; }}'
    test = f"(import {FOLDER}/checkout/modules/test.nix {{ pkgs = {stubs}; nixosModule = {{ }}; }})"
    module = (
        f"imports = [ {test}.nodes.machine ];"
        " options.virtualisation.writableStore = lib.mkOption { type = lib.types.bool; };"
        f' config.virtualisation.nixoci.images.web = lib.mkForce (builtins.storePath "{image}");'
    )
    settings = f"config.{SECCOMP}"
    assert project.broken(module) == []
    containers = project.value(module, select="it.config.virtualisation.nixoci.containers")
    assert sorted(each["backend"] for each in containers.values()) == ["bundle", "podman", "rootfs"]
    _, units, _ = project.build(module, settings, select="it.config.virtualisation.nixoci.units")
    made = project.machine.run(["ls", f"{units}/lib/systemd/system"]).stdout.split()
    script = project.value(select=f"{test}.testScript")
    for name in containers:
        assert f"{name}.service" in made
        assert name.removeprefix("web-") in script


def test_a_home_has_the_rootless_store_and_user_units(project: Modules) -> None:
    web = 'virtualisation.nixoci.containers.web = { image = "nginx"; ports = [ "8080:80" ]; };'
    given = (ENABLE, LOCK, SECCOMP, web)
    files = project.value(*given, select="it.config.xdg.configFile", home=True)
    _, store, _ = project.build(*given, select="it.config.virtualisation.nixoci.imageStore", home=True)
    assert store.endswith("-nixoci-image-store-rootless")
    assert files["containers/storage.conf"]["source"] == f"{store}/storage.conf"
    conf = render_storage_conf(Path(store), mount_program=Path(store) / "mount-program")
    assert project.machine.run(["cat", f"{store}/storage.conf"]).stdout == conf
    assert project.machine.run(["test", "-x", f"{store}/mount-program"]).returncode == 0
    _, units, _ = project.build(*given, select="it.config.virtualisation.nixoci.units", home=True)
    assert files["systemd/user"]["source"] == f"{units}/lib/systemd/user"
    assert project.machine.run(["test", "-e", f"{units}/lib/systemd/user/web.service"]).returncode == 0


def test_a_change_to_one_container_leaves_the_units_of_the_others_as_they_are(project: Modules) -> None:
    texts = []
    for environment in ("one", "two"):
        changed = f'virtualisation.nixoci.containers.web.environment.A = "{environment}";'
        _, units, _ = project.build(
            ENABLE, LOCK, SECCOMP, THREE, changed, select="it.config.virtualisation.nixoci.units"
        )
        files = {name: f"{units}/lib/systemd/system/{name}.service" for name in ("web", "cache", "app")}
        texts.append({name: project.machine.run(["cat", file]).stdout for name, file in files.items()})
    assert texts[0]["cache"] == texts[1]["cache"]
    assert texts[0]["app"] == texts[1]["app"]
    assert texts[0]["web"] != texts[1]["web"]


ALICE = """
virtualisation.nixoci.users.alice.containers = {
  mine = { image = "nginx"; ports = [ "8090:80" ]; settings.unit.Service.Environment = [ "A=1" ]; };
  other = { image = "redis"; autoStart = false; };
};
"""


def test_a_users_containers_run_under_the_users_systemd_as_nixos_places_them(project: Modules) -> None:
    """Every file where NixOS would have it: units for all users, storage.conf through a link."""
    machine = project.machine
    given = (ENABLE, LOCK, SECCOMP, ALICE)
    assert project.broken(*given) == []
    alice = "it.config.virtualisation.nixoci.users.alice"
    show = "inherit (it.config.systemd) user; inherit (it.config.users) users; inherit (it.config.environment) etc;"
    found = project.value(*given, select=f"{{ {show} }}")
    assert found["users"]["alice"] == {"autoSubUidGidRange": True, "linger": True}
    assert found["user"]["targets"]["default"]["wants"] == ["mine.service"]
    (rule,) = found["user"]["tmpfiles"]["users"]["alice"]["rules"]
    _, units, _ = project.build(*given, select="builtins.head it.config.systemd.packages")
    assert units == project.build(*given, select=f"{alice}.units")[1]
    store = project.build(*given, select=f"{alice}.imageStore")[1]
    assert found["etc"]["nixoci/storage.conf"]["source"] == f"{store}/storage.conf"
    conf = machine.run(["cat", f"{store}/storage.conf"]).stdout
    assert f'mount_program = "{store}/mount-program"' in conf
    files = {"etc/nixoci/storage.conf": conf, "etc/user-tmpfiles.d/alice.conf": f"{rule}\n"}
    for file, text in files.items():
        machine.run(["mkdir", "--parents", f"/{file.rpartition('/')[0]}"])
        machine.run(["tee", f"/{file}"], input=text)
    machine.run(["sh", "-c", f"ln -s {units}/lib/systemd/user/*.service /etc/systemd/user/"])
    try:
        machine.linger("alice")
        machine.run(["systemd-tmpfiles", "--user", "--create", "/etc/user-tmpfiles.d/alice.conf"], user="alice")
        machine.run(["systemctl", "--user", "daemon-reload"], user="alice")
        machine.run(["systemctl", "--user", "start", "mine.service"], user="alice")
        assert "nginx" in machine.run([*FETCH, "http://127.0.0.1:8090/"]).stdout
        owner = machine.run(["podman", "exec", "mine", "stat", "--format=%U:%a", "/srv/private"], user="alice").stdout
        assert owner == "www-data:750\n"
        shown = machine.run(["systemctl", "--user", "show", "--property=Environment", "mine.service"], user="alice")
        assert "A=1" in shown.stdout
        assert "/run/wrappers/bin" in shown.stdout
        # another user's systemd reads the same unit and leaves it alone
        machine.run(["systemctl", "start", "user@0.service"])
        machine.run(["systemctl", "--user", "start", "mine.service"], env={"XDG_RUNTIME_DIR": "/run/user/0"})
        state = ["systemctl", "--user", "show", "--property=ConditionResult,ActiveState", "mine.service"]
        shown = machine.run(state, env={"XDG_RUNTIME_DIR": "/run/user/0"})
        assert shown.stdout.split() == ["ActiveState=inactive", "ConditionResult=no"]
    finally:
        machine.run(["systemctl", "--user", "stop", "mine.service"], user="alice", check=False)
        machine.run(["sh", "-c", "rm -f /etc/systemd/user/mine.service /etc/systemd/user/other.service"])
        machine.run(["rm", "-f", "/home/alice/.config/containers/storage.conf"])
        machine.run(["rm", "-f", "/etc/user-tmpfiles.d/alice.conf", "/etc/nixoci/storage.conf"])


def test_a_users_container_goes_from_one_generation_to_the_next_and_back(
    project: Modules, registry: Registry, images: dict[str, Pair]
) -> None:
    """NixOS stops what has changed when storage.conf is already that of the next generation; or the user restarts."""
    machine = project.machine
    version = ["podman", "exec", "mine", "dpkg-query", "--show", "--showformat=${Version}", "nginx-light"]
    generations, redis = [], images["redis"].new
    alice = "virtualisation.nixoci.users.alice"
    more = f'{alice}.containers.mine.secrets.token = {{ source = "/home/alice/token"; mode = "0444"; }};'
    machine.run(["tee", "/home/alice/token"], input="s3cret", user="alice")
    for name, image in (("old", images["nginx"].old), ("new", images["nginx"].new)):
        entries = {"nginx": locked(image, registry.push(image)), "redis": locked(redis, registry.push(redis))}
        write_lock(machine, f"{FOLDER}/alice-{name}", entries)
        lock = f"virtualisation.nixoci.lock = {FOLDER}/alice-{name}/nixoci.lock.json;"
        given = (ENABLE, lock, SECCOMP, ALICE, more)
        parts = [project.build(*given, select=f"it.config.{alice}.{part}")[1] for part in ("units", "imageStore")]
        generations.append(parts)

    def systemctl(*command: str) -> None:
        machine.run(["systemctl", "--user", *command], user="alice")

    def activate(units: str, store: str) -> None:
        unit = f"{units}/lib/systemd/user/mine.service"
        machine.run(["ln", "--symbolic", "--force", unit, "/etc/systemd/user/mine.service"])
        conf = "/home/alice/.config/containers/storage.conf"
        machine.run(["mkdir", "--parents", "/home/alice/.config/containers"], user="alice")
        machine.run(["ln", "--symbolic", "--force", f"{store}/storage.conf", conf], user="alice")

    old, new = generations
    machine.linger("alice")
    try:
        activate(*old)
        systemctl("daemon-reload")
        systemctl("start", "mine.service")
        first = machine.run(version, user="alice").stdout
        activate(*new)
        systemctl("stop", "mine.service")
        systemctl("daemon-reload")
        systemctl("start", "mine.service")
        second = machine.run(version, user="alice").stdout
        assert first != second
        activate(*old)
        systemctl("daemon-reload")
        assert machine.run(version, user="alice").stdout == second
        systemctl("restart", "mine.service")
        assert machine.run(version, user="alice").stdout == first
        assert machine.run(["podman", "exec", "mine", "cat", "/run/secrets/token"], user="alice").stdout == "s3cret"
        listed = machine.run(["podman", "ps", "--all", "--format={{.Names}}"], user="alice").stdout
        assert listed.split() == ["mine"]
    finally:
        machine.run(["systemctl", "--user", "stop", "mine.service"], user="alice", check=False)
        machine.run(["rm", "-f", "/etc/systemd/user/mine.service", "/home/alice/.config/containers/storage.conf"])


def test_two_users_cannot_have_a_container_of_one_name(project: Modules) -> None:
    bob = 'virtualisation.nixoci.users.bob.containers.mine.image = "nginx";'
    (message,) = project.broken(ENABLE, LOCK, ALICE, bob)
    assert message.startswith("virtualisation.nixoci.users: alice and bob each have a unit mine.service;")


def test_root_has_no_rootless_containers(project: Modules) -> None:
    """root's podman is not rootless: it would read the machine's storage.conf, and find no image."""
    roots = 'virtualisation.nixoci.users.root.containers.web.image = "nginx";'
    (message,) = project.broken(ENABLE, LOCK, roots)
    assert message.startswith("virtualisation.nixoci.users.root: root's containers are the machine's; declare them in")


NO_LOCK = "the lock is not one that `nixoci add` wrote"
BLOB = f'{{"digest": "sha256:{"0" * 64}"}}'


def damaged_lock(platforms: str) -> str:
    """Return a lock whose image `web` has these platforms."""
    return (
        '{"version": 1, "images": {"web": {"reference": "docker.io/library/web:1", "digest": "sha256:0", "platforms": '
        f"{platforms}}}}}}}"
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", NO_LOCK),
        ("{}", NO_LOCK),
        ('{"version": 1, "images": []}', NO_LOCK),
        ('{"version": 1, "images": {"web": []}}', f"{NO_LOCK}: images.web is no object;"),
        (
            '{"version": 1, "images": {"web": {"reference": "docker.io/library/web:1", "digest": "sha256:0"}}}',
            f"{NO_LOCK}: images.web has no platforms;",
        ),
        (
            '{"version": 1, "images": {"web": {"reference": "web", "digest": "sha256:0", "platforms": {}}}}',
            f"{NO_LOCK}: images.web.reference is no reference in full;",
        ),
        (damaged_lock("{}"), f"{NO_LOCK}: images.web.platforms is empty;"),
        (damaged_lock("[]"), f"{NO_LOCK}: images.web.platforms is no object;"),
        (damaged_lock('{"linux/amd64": {}}'), f"{NO_LOCK}: images.web.platforms.linux/amd64 has no manifest;"),
        (
            damaged_lock(f'{{"linux/amd64": {{"manifest": {BLOB}, "config": {BLOB}, "layers": []}}}}'),
            f"{NO_LOCK}: images.web.platforms.linux/amd64.config has no value;",
        ),
        (
            damaged_lock(f'{{"linux/amd64": {{"manifest": {{}}, "config": {BLOB}, "layers": [{BLOB}]}}}}'),
            f"{NO_LOCK}: images.web.platforms.linux/amd64.manifest has no digest;",
        ),
        ('{"version": 2}', "the lock has version 2, this nixoci reads version 1"),
        ('<<<<<<< HEAD\n{"version": 1}', "parse error"),
    ],
)
@pytest.mark.parametrize("container", ["", WEB])
def test_a_lock_that_is_none_is_named(modules: Modules, text: str, says: str, container: str) -> None:
    modules.machine.run(["tee", f"{FOLDER}/damaged.json"], input=text)
    lock = f"virtualisation.nixoci.lock = {FOLDER}/damaged.json;"
    select = "it.config.virtualisation.nixoci.containers // it.config.virtualisation.nixoci.images"
    said = modules.refusal(ENABLE, lock, container, select=select)
    assert says in said
    assert f"while reading the lock {FOLDER}/damaged.json" in said


def test_an_image_of_a_user_that_is_unknown(project: Modules) -> None:
    (message,) = project.broken(ENABLE, LOCK, 'virtualisation.nixoci.users.bob.containers.web.image = "ngnix";')
    assert message.startswith("virtualisation.nixoci.users.bob.containers.web.image: no image ngnix; known are nginx,")


def test_a_user_has_a_backend_of_the_users_own(modules: Modules) -> None:
    """The machine's backend may be one that does not work for users."""
    backend = 'virtualisation.nixoci.backend = "bundle";'
    bob = 'virtualisation.nixoci.users.bob.containers.web.image = "nginx";'
    select = "it.config.virtualisation.nixoci.users.bob.containers.web.backend"
    assert modules.value(backend, bob, select=select) == "podman"
    own = 'virtualisation.nixoci.users.bob.backend = "rootfs";'
    assert modules.value(backend, bob, own, select=select) == "rootfs"


def test_images_of_containers_are_kept_before_garbage_is_collected(project: Modules) -> None:
    service = project.value(ENABLE, LOCK, select="it.config.systemd.services.nixoci-gc-roots")
    assert service["serviceConfig"] == {"Type": "oneshot", "ExecStart": "/opt/nixoci/bin/nixoci gc-roots"}
    assert set(service["wantedBy"]) == {"multi-user.target", "nix-gc.service"}
    assert service["before"] == ["nix-gc.service"]


def test_the_substituter(modules: Modules) -> None:
    """Its units are those of the documentation, but for paths; the cache itself stays behind it."""
    declared = block("docs/substituter.md", "services.nixoci.substituter").text
    assert modules.value(declared, select="it.config.nix.settings.substituters") == [
        "http://127.0.0.1:8642",
        "https://cache.example",
        "https://cache.nixos.org/",
    ]
    (socket,) = modules.value(declared, select="lib.attrValues it.config.systemd.sockets")
    assert (socket["listenStreams"], socket["wantedBy"]) == (["127.0.0.1:8642"], ["sockets.target"])
    assert {name: _plain(value) for name, value in socket["socketConfig"].items()} == {"FlushPending": "yes"}
    service = modules.value(declared, select="it.config.systemd.services.nixoci-substituter")
    shown = configparser.ConfigParser(interpolation=None, comment_prefixes="#")
    shown.optionxform = str  # type: ignore[assignment,method-assign]
    shown.read_string(block("docs/substituter.md", "# /etc/systemd/system/nixoci-substituter.service").text)
    assert service["wantedBy"] == [shown["Install"]["WantedBy"]]
    expected = dict(shown["Service"])
    environment = dict(each.split("=") for each in expected.pop("Environment").split())
    assert service["environment"] == environment
    assert {name: str(value) for name, value in service["unitConfig"].items()} == {
        "StartLimitIntervalSec": shown["Unit"]["StartLimitIntervalSec"]
    }
    found = {name: _plain(value) for name, value in service["serviceConfig"].items()}
    assert found.pop("ExecStart") == "/opt/nixoci/bin/nixoci substituter --upstream https://cache.example"
    assert expected.pop("ExecStart").endswith("/nixoci substituter --upstream https://cache.example")
    assert found == expected


def test_a_substituter_of_another_address(modules: Modules) -> None:
    select = "it.config.systemd.services.nixoci-substituter.serviceConfig.ExecStart"
    base = "services.nixoci.substituter.enable = true;"
    odd = modules.value(base, 'services.nixoci.substituter.upstream = "https://x/%20$a";', select=select)
    assert odd.endswith(" --upstream 'https://x/%%20$$a'")
    upstream = 'services.nixoci.substituter.upstream = "https://x";'
    login = 'services.nixoci.substituter.netrcFile = "/a/100%";'
    service = modules.value(base, upstream, login, select="it.config.systemd.services.nixoci-substituter.serviceConfig")
    assert service["ExecStart"].endswith(" --upstream https://x --netrc-file ${CREDENTIALS_DIRECTORY}/netrc")
    assert service["LoadCredential"] == ["netrc:/a/100%%"]
    assert modules.value(select="it.config.systemd.sockets") == {}
    said = modules.refusal(base, 'services.nixoci.substituter.upstream = "s3://x";', select=select)
    assert "services.nixoci.substituter.upstream" in said


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(value) if isinstance(value, list) else str(value)
