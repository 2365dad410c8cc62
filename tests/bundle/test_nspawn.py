"""The form of a bundle for systemd-nspawn, by what its parser takes (systemd, src/nspawn/nspawn-oci.c)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from nixoci.bundle.config import bundle_config
from nixoci.bundle.nspawn import nspawn_config
from nixoci.container.model import Secret
from nixoci.errors import ContainerError
from tests.container.samples import make_image, resolved

if TYPE_CHECKING:
    from pathlib import Path

PROFILE = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 38,
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
    "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["bdflush"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
        {"names": ["kcmp"], "action": "SCMP_ACT_NOTIFY"},
    ],
}


def config(path: Path, **options: Any) -> dict[str, Any]:
    container = resolved(make_image(path, {"Cmd": ["run"]}), backend="bundle", **({"networks": ["none"]} | options))
    return nspawn_config(container, bundle_config(container, PROFILE, folder=path), image="/run/nixoci/images/x")


def test_only_what_systemd_nspawn_knows_is_left(tmp_path: Path) -> None:
    made = config(tmp_path, user="web", runtime="runc", tmpfs=["/srv:size=1m"], volumes=["/var/cache:/mnt"])
    assert made["ociVersion"] == "1.0.0"
    assert made["root"] == {"path": "/run/nixoci/images/x", "readonly": False}
    assert set(made["process"]["user"]) == {"uid", "gid", "additionalGids"}
    assert set(made["linux"]) <= {"namespaces", "maskedPaths", "readonlyPaths", "sysctl", "seccomp"}
    assert made["linux"]["seccomp"] == {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}],
    }
    mounts = {mount["destination"]: mount for mount in made["mounts"]}
    assert set(mounts) == {"/srv", "/mnt"}
    assert mounts["/mnt"]["options"] == ["rbind"]
    assert {"tmpcopyup", "rprivate"}.isdisjoint(mounts["/srv"]["options"])
    assert "size=1m" in mounts["/srv"]["options"]
    json.dumps(made)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"secrets": {"s": Secret(source="/s")}}, "secrets"),
        ({"devices": ["/dev/fuse"]}, "devices"),
        ({"volumes": ["/var/cache:/mnt:ro"]}, "volumes[0]"),
        ({"extra_hosts": ["a:10.0.0.1"]}, "extraHosts"),
        ({"timezone": "local"}, "timezone"),
    ],
)
def test_what_a_bundle_cannot_tell_it_is_refused_by_its_option(
    tmp_path: Path, options: dict[str, Any], field: str
) -> None:
    with pytest.raises(ContainerError) as caught:
        config(tmp_path, **options)
    assert str(caught.value).startswith(f"containers.c.{field}: systemd-nspawn ")
