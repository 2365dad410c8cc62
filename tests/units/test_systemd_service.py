"""Units of the systemd backend: what systemd is told, by systemd.exec(5) and systemd.service(5)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from nixoci.container.deployment import resolve_deployment
from nixoci.errors import ContainerError
from nixoci.tree.model import Children, Inode, Kind
from nixoci.units.images import MountedImage
from nixoci.units.launcher import system_calls
from nixoci.units.start import mount_table
from nixoci.units.systemd_container import launched, write_systemd
from nixoci.units.systemd_mounts import container_mounts
from nixoci.units.systemd_service import check_system_calls, systemd_units
from tests.container.samples import make_image
from tests.units.samples import OUTPUT, deployment

if TYPE_CHECKING:
    from pathlib import Path

    from nixoci.container.resolve import ResolvedContainer

POINT = "/run/nixoci/images/entry-layer"
PROGRAM = Inode(Kind.REGULAR, 0o755, size=1)
EXTRA = {
    "bin": Inode(
        Kind.DIRECTORY, children=Children({b"run": PROGRAM, b"sh": PROGRAM, b"data": Inode(Kind.REGULAR, 0o644)})
    )
}


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


def test_the_images_volumes_of_a_read_only_container_are_in_a_layer(tmp_path: Path) -> None:
    kept = Inode(Kind.DIRECTORY, children=Children({b"file": Inode(Kind.REGULAR, 0o644)}))
    image: dict[str, Any] = {"Volumes": {"/kept": {}, "/data": {}}}
    service = units(tmp_path / "a", image=image, extra={"kept": kept}, readOnly=True)["c.service"]
    assert {"RootDirectory=/run/nixoci/c/root", "ReadOnlyPaths=+/"} <= set(service)
    assert "BindPaths=/run/nixoci/c/root/kept:/kept" in service
    # systemd copies nothing to a file system in memory
    in_memory = [line for line in service if line.startswith("TemporaryFileSystem=")]
    assert [line for line in in_memory if "/kept" in line or "/data" in line] == [
        "TemporaryFileSystem=/data:mode=0750,uid=33,gid=34,nosuid,nodev"
    ]
    with pytest.raises(ContainerError, match="systemd mounts nothing at '/a:b'; use another backend"):
        units(tmp_path / "b", image={"Volumes": {"/a:b": {}}}, extra={"a:b": kept}, readOnly=True)


@pytest.mark.parametrize("read_only", [True, False])
def test_no_version_of_systemd_starts_a_container_outside_its_root(tmp_path: Path, read_only: bool) -> None:
    """systemd ignores keys that it does not know; RootDirectory= is older than mount namespaces in its units."""
    service = units(tmp_path, readOnly=read_only)["c.service"]
    (root,) = [line.removeprefix("RootDirectory=") for line in service if line.startswith("Root")]
    assert root == (POINT if read_only else "/run/nixoci/c/root")
    assert f"AssertPathIsMountPoint={root}" in service
    # the first version with ProtectHostname=private:NAME (NEWS of systemd, 258)
    assert "AssertVersion=systemd >= 258" in service


def test_mounts_have_the_options_that_podman_gives_them(tmp_path: Path) -> None:
    kept = Inode(Kind.DIRECTORY, children=Children({b"file": Inode(Kind.REGULAR, 0o644)}))
    volumes = ["v:/named:ro", "w:/loose:suid,dev,noexec", "/srv:/host", "/opt:/given:nodev,exec"]
    image: dict[str, Any] = {"Volumes": {"/kept": {}, "/named": {}}}
    made = container(tmp_path / "a", image, extra={"kept": kept}, readOnly=True, volumes=volumes)
    assert launched(made)["start"].mount_options == {
        "/named": ("nosuid", "nodev"),
        "/loose": ("suid", "dev", "noexec"),
        "/given": ("nodev", "exec"),
        "/kept": ("nosuid", "nodev"),
    }
    # the layer is no mount of its own
    writable = container(tmp_path / "b", image, extra={"kept": kept})
    assert launched(writable)["start"].mount_options == {}


def test_options_of_mounts_are_in_one_order_in_each_process(tmp_path: Path) -> None:
    file = Inode(Kind.REGULAR, 0o644)
    names = [f"kept-{number}" for number in range(8)]
    kept = {name: Inode(Kind.DIRECTORY, children=Children({b"file": file})) for name in names}
    image: dict[str, Any] = {"Volumes": {f"/{name}": {} for name in names}}
    made = container(tmp_path, image, extra=kept, readOnly=True)
    assert list(launched(made)["start"].mount_options) == [f"/{name}" for name in names]


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
    made = container(tmp_path, extra={"run": Inode(Kind.DIRECTORY, children=Children(inner))})
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
    start, health = launched(made)["start"], launched(made)["health"]
    assert (start.path, start.environment["A"], start.first) == ("/bin/run", "1", True)
    assert "/proc/kcore" in start.masked
    assert (health.path, health.argv[:2], health.first) == ("/bin/sh", ("/bin/sh", "-c"), False)


NEEDED = [
    "capset",
    "chdir",
    "mount",
    "mount_setattr",
    "prctl",
    "rt_sigqueueinfo",
    "setgroups",
    "setresgid",
    "setresuid",
]


def profile(default: str, *rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"defaultAction": default, "syscalls": list(rules), **more}


def filters(container: ResolvedContainer, given: dict[str, Any]) -> list[str]:
    output = replace(OUTPUT, profile=given)
    mounts = container_mounts(container, output.service("c"), image=POINT)
    (service,) = [each for each in systemd_units(container, mounts, output) if each.name == "c.service"]
    return [line for line in service.render().splitlines() if line.startswith("SystemCall")]


def test_the_launcher_makes_these_calls_before_the_program(tmp_path: Path) -> None:
    made = launched(container(tmp_path, healthcheck={"test": ["CMD-SHELL", "check"]}))
    assert sorted(system_calls(made["start"])) == NEEDED
    assert system_calls(made["health"]) < system_calls(made["start"])


@pytest.mark.parametrize("missing", NEEDED)
def test_a_profile_without_a_call_of_the_launcher_is_refused(tmp_path: Path, missing: str) -> None:
    made = container(tmp_path)
    needed = system_calls(launched(made)["start"])
    message = (
        f"^containers.c.backend: the seccomp profile does not allow {missing}, which a start with the backend systemd"
        " needs; allow them in the profile, or use the backend bundle$"
    )
    allowing = {"names": [name for name in NEEDED if name != missing], "action": "SCMP_ACT_ALLOW"}
    refusing = {"names": [missing, "bpf"], "action": "SCMP_ACT_ERRNO"}
    for given in (
        profile("SCMP_ACT_ERRNO", allowing),
        profile(
            "SCMP_ACT_ERRNO",
            allowing,
            {"names": [missing], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        ),
        profile("SCMP_ACT_ALLOW", refusing),
    ):
        with pytest.raises(ContainerError, match=message):
            check_system_calls(made, given, needed)


def test_a_profile_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    made = container(tmp_path / "image")
    output = replace(OUTPUT, out=tmp_path / "out", profile=profile("SCMP_ACT_ERRNO"))
    with pytest.raises(ContainerError, match="does not allow capset, chdir, mount, "):
        write_systemd(output, made)
    assert not (tmp_path / "out").exists()


def test_a_profile_that_allows_calls_is_the_list_of_them(tmp_path: Path) -> None:
    made = container(tmp_path)
    allowing = {"names": NEEDED, "action": "SCMP_ACT_ALLOW"}
    given = profile("SCMP_ACT_ERRNO", allowing, {"names": ["bpf"], "action": "SCMP_ACT_ERRNO"}, defaultErrnoRet=38)
    check_system_calls(made, given, NEEDED)
    assert filters(made, given) == [
        f"SystemCallFilter={' '.join(NEEDED)}",
        "SystemCallErrorNumber=ENOSYS",
        "SystemCallArchitectures=native",
    ]


def test_a_profile_that_refuses_calls_is_the_list_of_them(tmp_path: Path) -> None:
    made = container(tmp_path)
    given = profile(
        "SCMP_ACT_ALLOW",
        {"names": ["bpf"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
        {"names": ["acct"], "action": "SCMP_ACT_ERRNO"},
        {"names": ["kexec_load"], "action": "SCMP_ACT_KILL_PROCESS"},
        {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
    )
    check_system_calls(made, given, NEEDED)
    # systemd.exec(5), SystemCallFilter=: a list that starts with ~ refuses, each call with its own error
    assert filters(made, given) == [
        "SystemCallFilter=~acct:EPERM bpf:ENOSYS kexec_load:kill",
        "SystemCallArchitectures=native",
    ]
    assert filters(made, profile("SCMP_ACT_ALLOW")) == ["SystemCallArchitectures=native"]


def test_a_refusal_on_a_condition_cannot_be_told_to_systemd(tmp_path: Path) -> None:
    condition = {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}
    given = profile("SCMP_ACT_ALLOW", {"names": ["clone"], "action": "SCMP_ACT_ERRNO", "args": [condition]})
    with pytest.raises(ContainerError, match=r"^containers.c.backend: the seccomp profile refuses clone on conditions"):
        filters(container(tmp_path), given)


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
        ({"volumes": ["/a:/b:shared"]}, "volumes[0]: systemd binds nothing with 'shared'"),
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
