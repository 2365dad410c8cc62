"""Every field of the model on every backend: it is rendered, or refused by its name, but never dropped."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import pytest

from nixoci.bundle.config import bundle_config
from nixoci.container.model import Backend, Container, Deployment
from nixoci.container.resolve import resolve
from nixoci.container.rules import check, check_resolved
from nixoci.document import json_key, structure
from nixoci.errors import ContainerError
from nixoci.tree.model import Children, Inode, Kind
from nixoci.units.directories import UnitsOutput
from nixoci.units.launcher import render_launcher
from nixoci.units.podman_objects import network_file, other_file, pod_file, volume_file
from nixoci.units.quadlet import container_file
from nixoci.units.service import bundle_service, health_units
from nixoci.units.start import (
    environment_script,
    mount_table,
    start_lines,
    start_script,
    stop_script,
    volume_copies,
    volume_lines,
)
from nixoci.units.systemd_container import keep_script, launched
from nixoci.units.systemd_mounts import container_mounts, service_files
from nixoci.units.systemd_service import systemd_units
from nixoci.units.tools import Tools
from tests.container.samples import make_image
from tests.support.runtime_spec import config_validator
from tests.units.samples import MOUNTED

if TYPE_CHECKING:
    from nixoci.container.image_tree import ImageTree

TOOLS = Tools.find(crun="/c/crun", runc="/r/runc")
OUTPUT = UnitsOutput(out=Path("/out"), tools=TOOLS)

BASE: dict[str, Any] = {
    "containers": {
        "c": {
            "image": "one",
            "cmd": ["go"],
            "healthcheck": {"test": ["CMD", "check", "it"]},
            "secrets": {"s": {"source": "/key"}},
            "networks": ["none"],
        },
        "d": {"image": "one", "networks": ["none"]},
    },
    "volumes": {"v": {}},
    "networks": {"n": {}},
    "pods": {"p": {}},
    "quadlets": {"q.kube": {"settings": {"quadlet": {"Yaml": "/q.yaml"}}}},
}

_UNIT = {"unit": {"Service": {"Nice": 7}}}
CONTAINER: dict[str, list[tuple[Any, str]]] = {
    "image": [("two", "/two")],
    "backend": [],  # what every case here is about
    "runtime": [("runc", "/r/runc")],
    "entrypoint": [(["/mark"], "/mark"), ([], "")],
    "cmd": [(["mark-1"], "mark-1")],
    "environment": [({"MARK": "mark-2"}, "MARK=mark-2")],
    "environmentFiles": [(["/mark-3"], "/mark-3")],
    "ports": [(["127.0.0.1:8471:80/udp"], "127.0.0.1:8471:80/udp")],
    "volumes": [
        (["/mark-4:/inside:ro"], "/mark-4"),
        (["mark-5:/data"], "mark-5"),
        (["/nameless"], "/nameless"),
        (["v:/data"], "v.volume:/data"),
    ],
    "dependsOn": [(["d"], "After=d.service")],
    "user": [("web", ""), ("4711", "4711")],
    "workdir": [("/srv", "/srv")],
    "hostname": [("mark-7", "mark-7")],
    "timezone": [("Mark/Zone", "Mark/Zone"), ("local", "")],
    "labels": [({"mark": "mark-8"}, "mark-8")],
    "networks": [(["host"], ""), (["n"], "Network=n.network"), (["mark-9"], "mark-9"), ([], "")],
    "dns": [(["10.47.1.1"], "10.47.1.1"), (["none"], "")],
    "dnsSearch": [(["mark-11.org"], "mark-11.org"), (["."], "")],
    "dnsOptions": [(["mark-12:3"], "mark-12:3")],
    "extraHosts": [(["mark-13;mark-14:10.47.1.2"], "10.47.1.2"), (["mark-15:host-gateway"], "mark-15")],
    "pod": [("p", "Pod=p.pod")],
    "devices": [(["/dev/mark:/dev/inside:r"], "/dev/mark")],
    "capabilities": [({"NET_ADMIN": True}, "NET_ADMIN"), ({"CHOWN": False}, "")],
    "privileged": [(True, "--privileged")],
    "userNamespace": [("auto:size=4720", "auto:size=4720"), ("keep-id", "keep-id")],
    "init": [(True, "--init")],
    "serviceName": [("mark-16", "mark-16.")],
    "autoStart": [(False, "")],
    "extraOptions": [(["--mark"], "--mark")],
    "logDriver": [("k8s-file", "k8s-file"), ("none", "LogDriver=none")],
    "logOptions": [({"tag": "mark-17"}, "tag=mark-17")],
    "healthcheck": [],  # by its own fields
    "notify": [("container", "Notify"), ("healthy", "")],
    "stopSignal": [("SIGUSR1", "SIGUSR1")],
    "stopTimeout": [(4713, "4713")],
    "restart": [("on-abort", "Restart=on-abort"), ("no", "Restart=no")],
    "readOnly": [(True, "")],
    "writableLayer": [("persistent", "/var/lib/nixoci/c")],
    "tmpfs": [(["/mark-10:size=5m"], "/mark-10")],
    "shmSize": [("4716b", "4716")],
    "memory": [("4717b", "4717")],
    "pidsLimit": [(4718, "4718"), (-1, "")],
    "ulimits": [({"nofile": 4721}, "4721"), ({"core": "4722:-1"}, "4722")],
    "sysctls": [({"kernel.msgmax": "4719"}, "4719")],
    "secrets": [],  # by its own fields
    "settings": [],  # by its own fields
}
"""For each option of a container, values other than the default, and their rendered text."""

PARTS: dict[str, tuple[tuple[str, ...], dict[str, list[tuple[Any, str]]]]] = {
    "HealthcheckOptions": (
        ("containers", "c", "healthcheck"),
        {
            "test": [(["CMD", "mark", "1"], "mark"), (["CMD-SHELL", "mark"], "mark"), (["NONE"], "")],
            "interval": [("4711s", "4711000000us")],
            "timeout": [("4712s", "4712")],
            "startPeriod": [("4713s", "4713000000us")],
            "retries": [(4714, "4714")],
            "onFailure": [("kill", ""), ("stop", "")],
        },
    ),
    "Secret": (
        ("containers", "c", "secrets", "s"),
        {
            "source": [("/mark", "LoadCredential=s:/mark")],
            "target": [("/mark", "/mark")],
            "mode": [("0440", "0440")],
        },
    ),
    "Settings": (
        ("containers", "c", "settings"),
        {
            "unit": [(_UNIT["unit"], "Nice=7")],
            "quadlet": [({"ShmSize": "5m"}, "--shm-size 5m")],
            "runtime": [({"process": {"oomScoreAdj": 4711}}, "4711")],
        },
    ),
    "Volume": (
        ("volumes", "v"),
        {
            "labels": [({"a": "mark"}, "a=mark")],
            "settings": [(_UNIT, "Nice=7"), ({"quadlet": {"Copy": False}}, "Copy")],
        },
    ),
    "Network": (
        ("networks", "n"),
        {
            "internal": [(True, "Internal=true")],
            "subnets": [(["10.9.0.0/24"], "10.9.0.0/24")],
            "labels": [({"a": "mark"}, "a=mark")],
            "settings": [(_UNIT, "Nice=7"), ({"quadlet": {"IPv6": True}}, "--ipv6")],
        },
    ),
    "Pod": (
        ("pods", "p"),
        {
            "ports": [(["8472:80"], "8472:80")],
            "networks": [(["n"], "Network=n.network"), (["host"], "Network=host")],
            "labels": [({"a": "mark"}, "a=mark")],
            "settings": [(_UNIT, "Nice=7"), ({"quadlet": {"ShmSize": "5m"}}, "--shm-size 5m")],
        },
    ),
    "Quadlet": (
        ("quadlets", "q.kube"),
        {
            "autoStart": [(False, "")],
            "settings": [({"unit": _UNIT["unit"], "quadlet": {"Yaml": "/mark.yaml"}}, "Yaml=/mark.yaml")],
        },
    ),
    **{
        f"Settings of {kind}": ((kind, name, "settings"), {"runtime": [({"process": {}}, "")]})
        for kind, name in (("volumes", "v"), ("networks", "n"), ("pods", "p"), ("quadlets", "q.kube"))
    },
}
"""The same for nested classes, by their path in the document."""

PODMAN_ONLY = {
    *("containers.c.ports", "containers.c.pod", "containers.c.privileged", "containers.c.extraOptions"),
    *("containers.c.settings.quadlet", "containers.c.init", "containers.c.logDriver", "containers.c.logOptions"),
    "containers.c.userNamespace",
}
PODMAN_ONLY_VALUES: list[tuple[str, Any]] = [
    *(("containers.c.networks", value) for value in (["n"], ["mark-9"], [])),
    *(("containers.c.volumes", value) for value in (["/nameless"], ["v:/data"])),
]
"""The options that a bundle refuses, and the values that it refuses of other options."""

ROOTFS_LACKS = ("containers.c.userNamespace", "auto:size=4720")
BUNDLE_ONLY = {"containers.c.writableLayer", "containers.c.settings.runtime"}
REFUSED = {
    Backend.PODMAN: BUNDLE_ONLY,
    Backend.ROOTFS: BUNDLE_ONLY,
    Backend.BUNDLE: PODMAN_ONLY,
    Backend.SYSTEMD: PODMAN_ONLY
    | BUNDLE_ONLY
    | {f"containers.c.{option}" for option in ("runtime", "environmentFiles", "sysctls", "dnsSearch", "dnsOptions")},
}
LACKING = {
    Backend.ROOTFS: [ROOTFS_LACKS],
    Backend.BUNDLE: PODMAN_ONLY_VALUES,
    Backend.SYSTEMD: [*PODMAN_ONLY_VALUES, ("containers.c.timezone", "Mark/Zone"), ("containers.c.notify", "healthy")],
}
NOBODY = {f"{kind}.settings.runtime" for kind in ("volumes.v", "networks.n", "pods.p", "quadlets.q.kube")}

CASES = [
    (place, key, value, mark)
    for place, fields in [(("containers", "c"), CONTAINER), *PARTS.values()]
    for key, samples in fields.items()
    for value, mark in samples
]


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ImageTree]:
    folder = tmp_path_factory.mktemp("images")
    program = Inode(Kind.REGULAR, 0o755, size=1)
    programs = {name.encode(): program for name in ("run", "enter", "go", "check", "mark", "mark-1", "sh")}
    extra = {"bin": Inode(Kind.DIRECTORY, children=Children(programs)), "mark": program}
    config = {"Cmd": ["run"], "Entrypoint": ["enter"]}
    return {name: make_image(folder / name, config, extra=extra) for name in ("one", "two")}


def changed(document: dict[str, Any], place: tuple[str, ...], key: str, value: Any) -> dict[str, Any]:
    copied: dict[str, Any] = json.loads(json.dumps(document))
    inner = copied
    for name in place:
        inner = inner.setdefault(name, {})
    inner[key] = value
    if place == ("containers", "c") and key in {"pod", "ports"}:
        del copied["containers"]["c"]["networks"]  # those of the pod, and one with ports
    if place == ("containers", "c") and key in {"dns", "dnsSearch", "dnsOptions", "extraHosts"}:
        copied["containers"]["c"]["networks"] = ["host"]  # one from which the host and name servers are reached
    return copied


def rendered(document: dict[str, Any], trees: dict[str, ImageTree], backend: Backend) -> str:
    """Return the text of everything that a deployment renders without running a tool."""
    images = {name: str(tree.image.path) for name, tree in trees.items()}
    document = changed(document, ("containers", "c"), "backend", str(backend))
    parsed = check(structure(Deployment, {"images": images, **document}, what="document", strict=True))
    deployment = parsed.declared
    files = [volume_file(name, volume, user=False) for name, volume in deployment.volumes.items()]
    files += [network_file(name, network, user=False) for name, network in deployment.networks.items()]
    files += [pod_file(pod, user=False) for pod in parsed.pods]
    files += [other_file(name, quadlet, TOOLS, user=False) for name, quadlet in deployment.quadlets.items()]
    lines: list[str] = []
    (container,) = [each for each in parsed.containers if each.name == "c"]
    one = resolve(container, trees[container.declared.image])
    check_resolved(one)
    if backend is Backend.BUNDLE:
        bundle = bundle_config(one, None, folder=OUTPUT.bundle("c"), image=lambda: MOUNTED.point)
        files += [bundle_service(one, bundle, OUTPUT), *health_units(one, TOOLS)]
        lines += [
            *start_lines(one, bundle.root),
            *volume_lines(one),
            *volume_copies(one, image=MOUNTED),
            json.dumps(bundle.config),
            *bundle.etc_files.values(),
        ]
        lines += [
            start_script(one, bundle, OUTPUT, image=MOUNTED),
            stop_script(one, bundle, OUTPUT, image=MOUNTED),
            environment_script(one, OUTPUT),
        ]
        lines += [mount_table(one, bundle.root, image=MOUNTED)]
    elif backend is Backend.SYSTEMD:
        mounts = container_mounts(one, OUTPUT.service("c"), image=str(one.tree.image.path))
        files += systemd_units(one, mounts, OUTPUT)
        lines += [*start_lines(one, mounts.kind), *volume_lines(one), *service_files(one).values()]
        lines += volume_copies(one, image=MOUNTED)
        lines += [
            keep_script(one, mounts, OUTPUT, image=MOUNTED),
            *(render_launcher(each, architecture="amd64").decode("latin1") for each in launched(one).values()),
        ]
    else:
        image_id = None if backend is Backend.ROOTFS else f"id of {container.declared.image}: {one.tree.image.path}"
        files += [container_file(one, TOOLS, image_id=image_id, user=False)]
    return "\n".join([*(f"{file.name}\n{file.render()}" for file in files), *lines])


@pytest.fixture(scope="module")
def bases(trees: dict[str, ImageTree]) -> dict[Backend, str]:
    return {backend: rendered(BASE, trees, backend) for backend in Backend}


@pytest.mark.parametrize("backend", Backend, ids=str)
@pytest.mark.parametrize(
    ("place", "key", "value", "mark"), CASES, ids=[".".join((*case[0], case[1])) for case in CASES]
)
def test_an_option_is_seen_in_what_is_rendered_or_refused_by_its_name(
    *,
    trees: dict[str, ImageTree],
    bases: dict[Backend, str],
    backend: Backend,
    place: tuple[str, ...],
    key: str,
    value: Any,
    mark: str,
) -> None:
    option = ".".join((*place, key))
    base = bases[backend]
    refused = NOBODY | REFUSED[backend]
    lacking = LACKING.get(backend, [])
    if option in refused or (option, value) in lacking:
        with pytest.raises(ContainerError) as caught:
            rendered(changed(BASE, place, key, value), trees, backend)
        assert str(caught.value).startswith((f"{option}:", f"{option}[0]:", f"{option}."))
        assert "\n" not in str(caught.value)
    else:
        text = rendered(changed(BASE, place, key, value), trees, backend)
        assert text != base
        assert mark not in base or not mark
        assert mark in text


def test_every_bundle_is_valid_by_the_runtime_specs_schema(trees: dict[str, ImageTree]) -> None:
    validator = config_validator()
    seen = 0
    for place, key, value, _ in CASES:
        try:
            text = rendered(changed(BASE, place, key, value), trees, Backend.BUNDLE)
        except ContainerError:
            continue
        (config,) = [line for line in text.splitlines() if line.startswith('{"ociVersion"')]
        validator.validate(json.loads(config))
        seen += 1
    assert seen > len(CASES) / 2


def _classes(cls: type[Any]) -> dict[str, type[Any]]:
    """Return the classes of a document of `cls`: its own, and nested ones."""
    found = {cls.__name__: cls}
    for hint in get_type_hints(cls).values():
        for kind in (hint, *get_args(hint)):
            if dataclasses.is_dataclass(kind) and isinstance(kind, type):
                found |= _classes(kind)
    return found


def test_no_option_is_left_out_here() -> None:
    samples = {"Container": CONTAINER} | {name: fields for name, (_, fields) in PARTS.items()}
    classes = _classes(Deployment)
    for name, cls in classes.items():
        if cls is not Deployment:
            assert set(samples[name]) == {json_key(field) for field in dataclasses.fields(cls)}, name
    assert {json_key(field) for field in dataclasses.fields(Deployment)} == {"images", "imageStore", "engines", *BASE}
    assert Container in classes.values()
