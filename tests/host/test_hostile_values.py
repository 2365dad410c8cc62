"""Values that are hard to escape on the way from a declaration, in JSON or in Nix, to a process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from nixoci.nix_language.escape import value as nix_value
from tests.host.containers import BACKENDS, HOSTILE, STORE, Host
from tests.host.prepared import sample_host

if TYPE_CHECKING:
    from collections.abc import Iterator

SHOW = (
    "import json, os, sys, time;"
    " print('SEEN', json.dumps([dict(os.environ), sys.argv[1:], os.listdir('/mnt')]), flush=True); time.sleep(600)"
)
"""The program of the containers: it prints one line to the journal, then waits."""

DIRECTORY = "a $b %n 'c' \"d\" é"

UNITS = """
let
  make = import /src/nixoci/nix_language/expressions/units.nix {
    system = builtins.currentSystem;
    nixoci = "/opt/nixoci";
    seccomp = "/usr/share/containers/seccomp.json";
    podman = "/usr"; crun = "/usr"; runc = "/usr"; util-linux = "/usr"; systemd = "/usr"; bash = "/usr";
    coreutils = "/usr"; composefs = "/usr"; containerd = "/usr";
    imageStore = import /src/nixoci/nix_language/expressions/image-store.nix {
      system = builtins.currentSystem;
      nixoci = "/opt/nixoci";
      composefs = "/usr";
    };
  };
  document = %s;
in
make {
  deployment = document // {
    images = builtins.mapAttrs (_: builtins.storePath) document.images;
    imageStore = builtins.storePath document.imageStore;
  };
}
"""
"""The units as the Nix modules make them, of a document written in Nix."""


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with sample_host("python") as host:
        yield host


def containers(language: str) -> dict[str, Any]:
    return {
        f"{language}-{backend}": {
            "image": "python",
            "backend": backend,
            "networks": ["none"],
            "restart": "no",
            "stopTimeout": 0,
            "entrypoint": ["python3", "-c", SHOW],
            "cmd": list(HOSTILE.values()),
            "environment": HOSTILE,
            "labels": HOSTILE,
            "volumes": [f"/var/tmp:/mnt/{DIRECTORY}", "odd_name.1-x:/mnt/volume"],  # noqa: S108
        }
        for backend in BACKENDS
    }


def deploy_in_json(host: Host) -> None:
    host.deploy("/var/json", containers("json"))


def deploy_in_nix(host: Host) -> None:
    store = host.machine.run(["nix-store", "--add", STORE]).stdout.strip()
    document = {"images": host.paths, "imageStore": store, "containers": containers("nix")}
    host.machine.run(["tee", "/var/hostile.nix"], input=UNITS % nix_value(document))
    host.link(host.machine.run(["nix-build", "--no-out-link", "/var/hostile.nix"]).stdout.strip())


@pytest.mark.parametrize(("language", "deploy"), [("json", deploy_in_json), ("nix", deploy_in_nix)])
def test_hostile_values_arrive_as_they_are(host: Host, language: str, deploy: Any) -> None:
    deploy(host)
    for backend in BACKENDS:
        name = f"{language}-{backend}"
        host.systemctl("start", f"{name}.service")
        environment, arguments, mounted = host.said(name)
        assert arguments == list(HOSTILE.values())
        assert {key: environment.get(key) for key in HOSTILE} == HOSTILE
        assert set(mounted) == {DIRECTORY, "volume"}
        if backend == "bundle":
            labels = json.loads(host.machine.run(["crun", "state", name]).stdout)["annotations"]
        else:
            show = ["podman", "inspect", "--format={{json .Config.Labels}}", name]
            labels = json.loads(host.machine.run(show).stdout)
        assert {key: labels.get(key) for key in HOSTILE} == HOSTILE
        host.systemctl("stop", f"{name}.service")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        ({"environment": {"A": "\0"}}, "environment.A: a NUL character"),
        ({"environment": {"A=B": ""}}, "environment: 'A=B' cannot be the name of a variable"),
        ({"environment": {" A": ""}}, "environment: ' A' cannot be the name of a variable"),
        ({"environment": {"": ""}}, "environment: '' cannot be the name of a variable"),
        ({"labels": {"a\nb": ""}}, "labels: 'a\\nb' cannot be the name of a label"),
        ({"labels": {"a": "\0"}}, "labels.a: a NUL character"),
        ({"cmd": ["a", "\0"]}, "cmd[1]: a NUL character"),
        ({"volumes": ["/a\nb:/c"]}, "volumes[0]: '/a\\nb:/c' has a control character"),
        ({"volumes": ["a b:/c"]}, "volumes[0]: source 'a b' is neither an absolute path nor the name of a volume"),
        ({"volumes": ["/a:/c "]}, "volumes[0]: '/a:/c ' must not begin or end with a space"),
    ],
)
def test_what_cannot_be_expressed_is_refused_by_name(
    host: Host, options: dict[str, Any], refusal: str, backend: str
) -> None:
    container = {"image": "python", "backend": backend, "networks": ["none"]} | options
    document = {"images": host.paths, "imageStore": "/nix/image-store", "containers": {"c": container}}
    host.machine.run(["tee", "/var/refused.json"], input=json.dumps(document))
    done = host.machine.run(["nixoci", "units", "/var/refused.json", "/var/refused"], check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: containers.c.{refusal}")
