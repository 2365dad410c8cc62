"""Units of the systemd backend: what systemd is told, by systemd.exec(5) and systemd.service(5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nixoci.container.deployment import resolve_deployment
from nixoci.errors import ContainerError
from nixoci.tree.model import Inode, Kind
from nixoci.units.images import MountedImage
from nixoci.units.start import mount_table
from nixoci.units.systemd_container import launchers
from nixoci.units.systemd_mounts import container_mounts
from nixoci.units.systemd_service import systemd_units
from tests.container.samples import make_image
from tests.units.samples import OUTPUT, deployment

if TYPE_CHECKING:
    from pathlib import Path

    from nixoci.container.resolve import ResolvedContainer

POINT = "/run/nixoci/images/entry-layer"
PROGRAM = Inode(Kind.REGULAR, 0o755, size=1)
EXTRA = {"bin": Inode(Kind.DIRECTORY, children={b"run": PROGRAM, b"sh": PROGRAM, b"data": Inode(Kind.REGULAR, 0o644)})}


def container(path: Path, image: dict[str, Any] | None = None, **options: Any) -> ResolvedContainer:
    extra = EXTRA | options.pop("extra", {})
    make_image(path, {"Cmd": ["run"]} | (image or {}), extra=extra)
    given = {"backend": "systemd", "networks": ["none"]} | options
    return resolve_deployment(deployment(path, given)).containers[0]


def units(path: Path, **options: Any) -> dict[str, list[str]]:
    made = container(path, **options)
    mounts = container_mounts(made, OUTPUT.service("c"), image=POINT)
    return {unit.name: unit.render().splitlines() for unit in systemd_units(made, mounts, OUTPUT)}


def test_systemd_looks_up_no_user_and_runs_nothing_else_in_the_containers_unit(tmp_path: Path) -> None:
    service = units(tmp_path, user="web", healthcheck={"test": ["CMD", "run"]})["c.service"]
    keys = {line.partition("=")[0] for line in service}
    assert keys.isdisjoint({"User", "Group", "SupplementaryGroups", "Environment", "AmbientCapabilities"})
    assert {key for key in keys if key.startswith("Exec")} == {"ExecStart"}
    assert "ExecStart=/run/nixoci/start run" in service


def test_a_read_only_container_has_the_image_as_its_root(tmp_path: Path) -> None:
    plain = units(tmp_path / "a", readOnly=True)["c.service"]
    assert f"RootDirectory={POINT}" in plain
    assert "TemporaryFileSystem=/var/tmp:mode=0755,uid=0,gid=0,nosuid,nodev" in plain
    # a target that the image lacks cannot be made in it
    layered = units(tmp_path / "b", readOnly=True, volumes=["/var/cache:/new"])["c.service"]
    assert {"RootDirectory=/run/nixoci/c/root", "ReadOnlyPaths=+/"} <= set(layered)


@pytest.mark.parametrize("read_only", [True, False])
def test_no_version_of_systemd_starts_a_container_outside_its_root(tmp_path: Path, read_only: bool) -> None:
    """systemd ignores keys that it does not know; RootDirectory= is older than mount namespaces in its units."""
    service = units(tmp_path, readOnly=read_only)["c.service"]
    (root,) = [line.removeprefix("RootDirectory=") for line in service if line.startswith("Root")]
    assert root == (POINT if read_only else "/run/nixoci/c/root")
    assert f"AssertPathIsMountPoint={root}" in service
    # the first version with ProtectHostname=private:NAME (NEWS of systemd, 258)
    assert "AssertVersion=systemd >= 258" in service


def test_the_layer_is_mounted_over_the_image_as_that_of_a_bundle(tmp_path: Path) -> None:
    made = container(tmp_path)
    mounts = container_mounts(made, OUTPUT.service("c"), image=POINT)
    assert mount_table(made, mounts.kind, image=MountedImage(POINT, tmp_path)) == (
        "overlay /run/nixoci/c/root overlay upperdir=/run/nixoci/c/root,workdir=/run/nixoci/c/work,"
        f"X-mount.mkdir=0755,nodev,metacopy=on,lowerdir={POINT} 0 0\n"
    )


def test_the_layer_is_mounted_after_the_image_that_it_lies_on(tmp_path: Path) -> None:
    keeper = set(units(tmp_path, volumes=["v:/data"])["c-keep.service"])
    assert {"Wants=nixoci-images.service", "After=nixoci-images.service"} <= keeper
    assert "RequiresMountsFor=/var/lib/nixoci/volumes/v" in keeper


def test_a_start_waits_only_for_what_must_be_there(tmp_path: Path) -> None:
    assert "Type=simple" in units(tmp_path / "a", readOnly=True)["c-keep.service"]
    assert "Type=oneshot" in units(tmp_path / "d")["c-keep.service"]
    secret = units(tmp_path / "b", secrets={"s": {"source": "/key"}}, readOnly=True)
    assert {"Type=oneshot", "LoadCredential=s:/key"} <= set(secret["c-keep.service"])
    assert "BindReadOnlyPaths=/run/nixoci/c/secrets/s:/run/secrets/s:norbind" in secret["c.service"]
    assert "Type=oneshot" in units(tmp_path / "c", volumes=["v:/data"], readOnly=True)["c-keep.service"]


def test_directories_of_the_images_run_are_made_again(tmp_path: Path) -> None:
    inner = {b"app": Inode(Kind.DIRECTORY, 0o2775, uid=33, gid=34), b"file": Inode(Kind.REGULAR, 0o644)}
    made = container(tmp_path, extra={"run": Inode(Kind.DIRECTORY, children=inner)})
    mounts = container_mounts(made, OUTPUT.service("c"), image=POINT)
    assert mounts.memory["/run/app"] == "mode=2775,uid=33,gid=34,nosuid,nodev"
    assert mounts.lost == ("/run/file",)


def test_the_output_is_logged_as_the_containers(tmp_path: Path) -> None:
    made = units(tmp_path, serviceName="unit")
    assert "StandardOutput=file:/run/nixoci/c/log" in made["unit.service"]
    assert {"ListenFIFO=/run/nixoci/c/log", "SocketMode=0666", "DirectoryMode=0700"} <= set(made["unit-log.socket"])
    # journalctl(1) takes this field for the unit's if root wrote it
    assert "LogExtraFields=OBJECT_SYSTEMD_UNIT=unit.service" in made["unit-log.service"]


def test_each_process_has_a_launcher(tmp_path: Path) -> None:
    made = container(tmp_path, image={"Env": ["A=1"]}, healthcheck={"test": ["CMD-SHELL", "check"]}, cmd=["run", "it"])
    found = launchers(made)
    assert set(found) == {"start", "health"}
    assert b"\0A=1\0" in found["start"]
    assert b"/bin/run\0" in found["start"]
    assert b"/proc/kcore\0" in found["start"]
    assert b"/bin/sh\0-c\0".replace(b"\0", b"") in found["health"].replace(b"\0", b"")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"capabilities": {"MKNOD": True}},
            "capabilities: systemd gives a service with devices of its own no CAP_MKNOD",
        ),
        (
            {"networks": ["host"], "dnsSearch": ["a.org"]},
            "dnsSearch: the systemd backend writes resolv.conf as a whole",
        ),
        ({"cmd": ["missing"]}, "cmd: the image has no program 'missing' in its PATH"),
        ({"cmd": ["data"]}, "cmd: the image has no program 'data' in its PATH"),
        ({"cmd": ["/no/such"]}, "cmd: the image has no program /no/such"),
        ({"tmpfs": ["/etc"]}, "tmpfs[0]: the image has files in /etc, which systemd does not copy"),
        ({"volumes": ["/a:/b:noexec"]}, "volumes[0]: systemd binds nothing with 'noexec'"),
        ({"tmpfs": ["/b:noatime"]}, "tmpfs[0]: systemd mounts none with 'noatime'"),
        ({"timezone": "Europe/Nowhere"}, "timezone: the image has no file of 'Europe/Nowhere'"),
        ({"notify": "healthy", "healthcheck": {"test": ["CMD", "run"]}}, "notify: no command of a host can run"),
        ({"environmentFiles": ["/e"]}, "environmentFiles: systemd reads such files by other rules"),
        ({"writableLayer": "persistent"}, "writableLayer: containers of the systemd backend start afresh"),
        ({"networks": ["web"]}, "networks: the systemd backend runs without podman and makes no networks"),
    ],
)
def test_what_systemd_cannot_do_is_refused_by_its_option(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ContainerError) as caught:
        container(tmp_path, **options)
    assert str(caught.value).startswith(f"containers.c.{message}")


def test_another_unit_of_the_same_name_is_refused(tmp_path: Path) -> None:
    make_image(tmp_path, {"Cmd": ["run"]}, extra=EXTRA)
    own = {"backend": "systemd", "networks": ["none"]}
    document = deployment(tmp_path, own, volumes={}, pods={})
    document.containers["c-log"] = document.containers["d"]
    with pytest.raises(ContainerError, match=r"^containers\.c-log: its unit is c-log\.service, like that of"):
        resolve_deployment(document)
