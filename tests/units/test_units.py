from __future__ import annotations

import json
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nixoci.bundle.config import make_bundle
from nixoci.container.model import Deployment
from nixoci.container.resolve import resolve
from nixoci.container.rules import check
from nixoci.document import structure
from nixoci.errors import ContainerError, ProcessError
from nixoci.image_store.stored import find_stored
from nixoci.units.generator import generate
from nixoci.units.quadlet import container_file, network_file, pod_file, volume_file
from nixoci.units.render import Rendering, render_units
from nixoci.units.service import (
    bundle_service,
    health_units,
    mount_table,
    start_lines,
    start_script,
    stop_script,
    volume_lines,
)
from nixoci.units.tools import Tools
from tests.container.samples import make_image

if TYPE_CHECKING:
    from nixoci.bundle.config import Bundle
    from nixoci.container.resolve import Resolved

TOOLS = Tools.find(
    podman="/p/bin/podman",
    crun="/c/crun",
    runc="/r/runc",
    mount="/m/mount",
    umount="/m/umount",
    sh="/s/sh",
    sleep="/b/sleep",
    timeout="/b/timeout",
    mkdir="/b/mkdir",
    rm="/b/rm",
)
SHARE = Path("/out/share/nixoci")
IMAGE = {"Cmd": ["run", "it"], "Env": ["A=1"], "StopSignal": "SIGINT", "User": "web", "Volumes": {"/data": {}}}


def deployment(path: Path, options: dict[str, Any], **more: Any) -> Deployment:
    document = {"images": {"i": str(path)}, "containers": {"c": {"image": "i"} | options, "d": {"image": "i"}}, **more}
    return structure(Deployment, document, what="d", strict=True)


def quadlet(path: Path, *, user: bool = False, more: dict[str, Any] | None = None, **options: Any) -> list[str]:
    tree = make_image(path, IMAGE)
    whole = deployment(path, options, **(more or {}))
    check(whole, user=user)
    resolved = resolve("c", whole.containers["c"], tree)
    image_id = None if options.get("backend") == "rootfs" else "f" * 64
    return container_file(resolved, whole, TOOLS, image_id=image_id, user=user).render().splitlines()


def bundle(path: Path, **options: Any) -> tuple[Resolved, Bundle]:
    whole = deployment(path, {"backend": "bundle", "networks": ["none"]} | options)
    check(whole)
    resolved = resolve("c", whole.containers["c"], make_image(path, IMAGE))
    return resolved, make_bundle(resolved, None, folder=Path("/u/share/nixoci/bundles/web"))


def test_podman_is_told_what_the_image_does_not_say(tmp_path: Path) -> None:
    lines = quadlet(tmp_path, cmd=["a b", "$x"], ports=["80:80"], environment={"E": "%n"}, dependsOn=["d"])
    assert {"Image=" + "f" * 64, "Pull=never", 'Exec="a b" "$$x"', "PublishPort=80:80"} <= set(lines)
    assert {'Environment="E=%%n"', "Requires=d.service", "After=d.service", "PodmanArgs=--stop-signal=SIGINT"} <= set(
        lines
    )
    assert not [line for line in lines if line.startswith(("User=", "Environment=A", "PodmanArgs=--entrypoint"))]


def test_without_an_image_podman_is_told_everything(tmp_path: Path) -> None:
    lines = quadlet(tmp_path, backend="rootfs")
    assert {
        f"Rootfs={tmp_path}/rootfs:O",
        "Exec=run it",
        "User=web",
        "PodmanArgs=--workdir=/",
        "Environment=A=1",
    } <= set(lines)
    assert {"PodmanArgs=--entrypoint=", "PodmanArgs=--mount=type=volume,destination=/data,U=true"} <= set(lines)


@pytest.mark.parametrize("word", ["", ";", "a\x80b", "\ufffe"])
def test_arguments_that_quadlet_drops_go_into_the_entrypoint(tmp_path: Path, word: str) -> None:
    lines = quadlet(tmp_path, cmd=["run", word, "end"])
    (found,) = [line for line in lines if line.startswith("PodmanArgs=") and "entrypoint" in line]
    (argument,) = shlex.split(found.removeprefix("PodmanArgs="))
    assert json.loads(argument.removeprefix("--entrypoint=")) == ["run", word, "end"]
    assert not [line for line in lines if line.startswith("Exec=")]


def test_names_of_the_document_become_units(tmp_path: Path) -> None:
    more: dict[str, Any] = {"volumes": {"v": {}}, "networks": {"n": {}}}
    lines = quadlet(tmp_path, more=more, volumes=["v:/data:ro", "w:/w"], networks=["n", "other"])
    assert {"Volume=v.volume:/data:ro", "Volume=w:/w", "Network=n.network", "Network=other"} <= set(lines)


def test_a_health_check_is_podmans(tmp_path: Path) -> None:
    check_ = {"test": ["CMD", "a", "$b"], "interval": "1m"}
    lines = quadlet(tmp_path / "1", healthcheck=check_, notify="healthy")
    assert {'HealthCmd=["a", "$$b"]', "HealthInterval=60000000us", "Notify=healthy"} <= set(lines)
    shell = quadlet(tmp_path / "2", healthcheck={"test": ["CMD-SHELL", "a && b"]})
    assert 'HealthCmd=["CMD-SHELL", "a && b"]' in shell
    assert "HealthCmd=none" in quadlet(tmp_path / "3")
    odd = quadlet(tmp_path / "6", healthcheck={"test": ["CMD", "a", "\n\x7f\u2028%"]})
    assert 'HealthCmd=["a", "\\n\\u007f\\u2028%%"]' in odd
    # podman would run the one word of a list in a shell, which an image need not have
    assert "HealthCmd=CMD /a%%" in quadlet(tmp_path / "4", healthcheck={"test": ["CMD", "/a%"]})
    with pytest.raises(ContainerError, match=r"^containers\.c\.healthcheck\.test: podman cannot run 'a b'"):
        quadlet(tmp_path / "5", healthcheck={"test": ["CMD", "a b"]})


def test_volumes_networks_and_pods_have_their_own_names(tmp_path: Path) -> None:
    more: dict[str, Any] = {
        "volumes": {"v": {"labels": {"a": "b c"}}},
        "networks": {"n": {"internal": True, "subnets": ["10.1.0.0/24"]}},
        "pods": {"p": {"ports": ["80:80"], "networks": ["n"], "settings": {"quadlet": {"ShmSize": "1m"}}}},
    }
    whole = deployment(tmp_path, {"pod": "p"}, **more)
    check(whole)
    volume = volume_file("v", whole.volumes["v"], user=False).render().splitlines()
    assert {"VolumeName=v", 'Label="a=b c"'} <= set(volume)
    network = network_file("n", whole.networks["n"], user=False).render().splitlines()
    assert {"NetworkName=n", "Internal=true", "Subnet=10.1.0.0/24"} <= set(network)
    pod = pod_file("p", whole.pods["p"], whole, user=True).render().splitlines()
    assert {
        "PodName=p",
        "PublishPort=80:80",
        "Network=n.network",
        "PodmanArgs=--shm-size=1m",
        "WantedBy=default.target",
    } <= set(pod)


def test_a_bundle_is_mounted_run_and_taken_down(tmp_path: Path) -> None:
    resolved, made = bundle(tmp_path)
    script = start_script(resolved, made, TOOLS, share=SHARE).splitlines()
    assert "/m/mount --all --fstab /out/share/nixoci/bundles/c/fstab" in script
    meta, root, runtime = mount_table(resolved, made, TOOLS, erofs=Path("/e.erofs")).splitlines()
    # mount makes all directories, the container's own among them
    assert meta == "/e.erofs /run/nixoci/c/work/meta erofs ro,nodev,X-mount.mkdir=0700 0 0"
    assert not [line for line in script if "mkdir" in line]
    assert root.startswith("overlay /run/nixoci/c/root overlay upperdir=/run/nixoci/c/root,workdir=/run/nixoci/c/work,")
    assert f"lowerdir=/run/nixoci/c/work/meta::{tmp_path}/rootfs" in root
    # the upper directory is that of / inside
    assert "X-mount.mkdir=0755," in root
    assert script.index("umask 0022") < script.index("/m/mount --all --fstab /out/share/nixoci/bundles/c/fstab")
    # crun is executed from a read-only mount, else it would make one and execute itself again
    assert runtime == "/c /run/nixoci/.runtime/c none bind,ro,X-mount.mkdir=0700 0 0"
    assert 'crun=/run/nixoci/.runtime/c/crun; [ -x "$crun" ] || crun=/c/crun' in script
    (run,) = [line for line in script if 'if "$crun" --cgroup-manager=disabled run ' in line]
    assert "--detach --pid-file=/run/nixoci/c/pid" in run
    # systemd waits at the stop only for a main process that is its child when the script ends
    assert script.index("read -r pid < /run/nixoci/c/pid || :") > script.index(run)
    assert script.index("until adopted; do") > script.index(run)
    assert stop_script(resolved, made, TOOLS).splitlines()[1:] == [
        "/m/umount --lazy /run/nixoci/c/root /run/nixoci/c/work/meta /run/nixoci/.runtime/c || :",
        # never what is mounted: not the programs of the host
        "/b/rm --force --dir /run/nixoci/.runtime/c || :",
        "/b/rm --recursive --force --one-file-system /run/nixoci/c || :",
    ]
    assert start_lines(resolved, made) == []
    service = bundle_service(resolved, made, TOOLS, share=SHARE).render()
    assert "ExecStart=/s/sh /out/share/nixoci/bundles/c/start\n" in service
    assert "SuccessExitStatus=SIGINT 130\n" in service


@pytest.mark.parametrize("crun", ["/c/crun", "/c/$x/c r;un", "/c/it's/cr$(u)n"])
def test_any_path_of_crun_is_that_path_in_the_start(tmp_path: Path, crun: str) -> None:
    script = start_script(*bundle(tmp_path), replace(TOOLS, crun=crun), share=SHARE).splitlines()
    for line in [line for line in script if line.startswith("crun=")]:
        shown = ["sh", "-euc", f'{line}; printf %s "$crun"']
        assert subprocess.run(shown, check=True, capture_output=True, text=True).stdout == crun
    (run,) = [line for line in script if " run --bundle=" in line]
    assert '"$crun"' in run or shlex.quote(crun) in run


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("lines", [0, 1, 99, 100, 101, 5000])
def test_a_start_copies_the_hosts_files_whole(tmp_path: Path, lines: int, shell: str) -> None:
    text = "".join(f"127.0.0.{n} a\\nb\t {n} \n" for n in range(lines))
    script = start_script(*bundle(tmp_path, networks=["host"]), Tools.find(), share=SHARE)
    function = script[script.index("copy() {") : script.index("copy /etc/hosts")]
    for end in ("", "last"):  # with or without a newline
        (tmp_path / "hosts").write_text(text + end)
        copied = subprocess.run(
            [shell, "-euc", f'{function}copy "$0"', tmp_path / "hosts"], check=True, capture_output=True, text=True
        ).stdout
        assert copied.removesuffix("\n") == (text + end).removesuffix("\n")
    absent = [shell, "-euc", f"{function}copy /nowhere; echo on"]
    assert subprocess.run(absent, check=True, capture_output=True, text=True).stdout == "on\n"


def test_what_a_bundle_keeps_is_in_the_state_directory(tmp_path: Path) -> None:
    resolved, made = bundle(tmp_path, writableLayer="persistent", volumes=["v:/data"])
    assert "upperdir=/var/lib/nixoci/c/upper" in mount_table(resolved, made, TOOLS, erofs=Path("/e.erofs"))
    assert "d /var/lib/nixoci/c/upper 0755 0 0 -" in start_lines(resolved, made)
    assert "{ [ -e /var/lib/nixoci/volumes/v ]; } || " in start_script(resolved, made, TOOLS, share=SHARE)
    assert volume_lines(resolved) == [
        "d /var/lib/nixoci/volumes 0700 - - -",
        "C /var/lib/nixoci/volumes/v - - - - /run/nixoci/c/root/data",
    ]
    service = bundle_service(resolved, made, TOOLS, share=SHARE).render()
    # what `systemctl clean --what=state` removes: the layer and nobody's volumes
    assert [line for line in service.splitlines() if line.startswith("StateDirectory")] == [
        "StateDirectory=nixoci/c",
        "StateDirectoryMode=0700",
    ]
    assert "RequiresMountsFor=/var/lib/nixoci/volumes/v\n" in service


def test_a_path_that_a_mount_table_cannot_hold_is_refused(tmp_path: Path) -> None:
    resolved, made = bundle(tmp_path)
    for path in ("/a b", "/a,b", "/a\tb", "/a\nb", "/a:b"):
        with pytest.raises(ContainerError, match=r"^containers\.c\.image: .* cannot be a mount option"):
            mount_table(resolved, made, TOOLS, erofs=Path(path))


def test_a_usual_start_needs_systemd_tmpfiles_for_secrets_and_kept_layers_only(tmp_path: Path) -> None:
    usual = start_script(*bundle(tmp_path / "1"), TOOLS, share=SHARE)
    assert "tmpfiles" not in usual
    more: list[dict[str, Any]] = [{"secrets": {"s": {"source": "/s"}}}, {"writableLayer": "persistent"}]
    for number, options in enumerate(more, 2):
        script = start_script(*bundle(tmp_path / str(number), **options), TOOLS, share=SHARE)
        made = script.index("mkdir -p -m 0700 /run/nixoci/c\n")
        assert script.index("\nfi\n") < made < script.index("systemd-tmpfiles --create")


@pytest.mark.parametrize(
    ("attributes", "made"),
    [
        ({}, []),
        ({"mode": 0o1700}, []),
        ({"mode": 0o1777}, ["d /run/nixoci/c/root 1777 0 0 -"]),
        ({"mode": 0o2755}, ["d /run/nixoci/c/root 2755 0 0 -"]),
        ({"gid": 34}, ["d /run/nixoci/c/root 0755 0 34 -"]),
        ({"uid": 33, "mode": 0o1751}, ["d /run/nixoci/c/root 1751 33 0 -"]),
    ],
    ids=str,
)
def test_what_mkdir_cannot_give_the_root_systemd_tmpfiles_does(
    tmp_path: Path, attributes: dict[str, int], made: list[str]
) -> None:
    resolved, bundled = bundle(tmp_path)
    for name, value in attributes.items():
        setattr(resolved.tree.root, name, value)
    assert start_lines(resolved, bundled) == made
    mode = attributes.get("mode", 0o755)
    assert f",X-mount.mkdir={mode:04o}," in mount_table(resolved, bundled, TOOLS, erofs=Path("/e.erofs"))
    assert ("systemd-tmpfiles --create" in start_script(resolved, bundled, TOOLS, share=SHARE)) == bool(made)


def test_secrets_are_files_of_the_containers_user(tmp_path: Path) -> None:
    secrets = {"s": {"source": "/run/keys/100%", "target": "/etc/s"}}
    resolved, made = bundle(tmp_path / "1", secrets=secrets)
    assert "f^ %t/nixoci/c/secrets/s 0400 33 34 - s" in start_lines(resolved, made)
    assert "LoadCredential=s:/run/keys/100%%\n" in bundle_service(resolved, made, TOOLS, share=SHARE).render()
    assert "Volume=%t/nixoci/c/secrets/s:/etc/s:ro" in quadlet(tmp_path / "2", secrets=secrets)
    with pytest.raises(ContainerError, match=r"^containers\.c\.secrets\.s\.mode: in a user's unit"):
        quadlet(tmp_path / "3", secrets=secrets, user=True)


def test_health_of_a_bundle_is_a_unit(tmp_path: Path) -> None:
    resolved, made = bundle(tmp_path, healthcheck={"test": ["CMD-SHELL", "x $y"]}, notify="healthy")
    service, timer = (unit.render() for unit in health_units(resolved, TOOLS))
    assert ' c 3 /b/sleep 30 /b/timeout --kill-after=5s 30 /c/crun exec c /bin/sh -c "x $$y"\n' in service
    assert "OnUnitInactiveSec=30000000us\n" in timer
    assert "Wants=c-health.timer\n" in bundle_service(resolved, made, TOOLS, share=SHARE).render()


def test_an_image_store_is_asked_by_the_registrys_manifest(tmp_path: Path) -> None:
    image = make_image(tmp_path / "image").image
    with pytest.raises(ContainerError, match=r"^imageStore: .* is not an image store"):
        find_stored("o", tmp_path, image)
    folder = tmp_path / "overlay-images"
    folder.mkdir()
    record = {"id": "x", "layer": "l", "big-data-digests": {"manifest": str(image.document.manifest.digest)}}
    (folder / "images.json").write_text(json.dumps([record]))
    assert find_stored("o", tmp_path, image).id == "x"
    (folder / "images.json").write_text("[]")
    with pytest.raises(ContainerError, match=r"^o: .* is not in the image store"):
        find_stored("o", tmp_path, image)


def generator(path: Path, script: str) -> Tools:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return Tools.find(podman="/p/bin/podman", quadlet=str(path))


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "echo 'quadlet[1]: converting \"web.container\": no such key' >&2; exit 1",
            "containers.web: podman's generator refuses its Quadlet file: no such key",
        ),
        ("echo careful >&2", "containers: podman's generator refuses its Quadlet file: careful"),
        ("true", "containers.web: podman's generator made no web.service and said nothing"),
    ],
)
def test_what_the_generator_says_or_leaves_out_is_an_error(tmp_path: Path, script: str, message: str) -> None:
    sources, target = tmp_path / "sources", tmp_path / "target"
    sources.mkdir()
    target.mkdir()
    (sources / "web.container").touch()
    with pytest.raises(ContainerError) as caught:
        generate(sources, target, generator(tmp_path / "quadlet", script), user=False)
    assert str(caught.value).startswith(message)


def test_a_missing_generator_is_said(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match="podman"):
        generate(tmp_path, tmp_path, Tools.find(quadlet=str(tmp_path / "none")), user=False)


def test_nothing_is_left_of_units_that_failed(tmp_path: Path) -> None:
    path = tmp_path / "image"
    make_image(path, IMAGE)
    whole = deployment(path, {})
    rendering = Rendering(deployment=whole, tools=TOOLS, out=tmp_path / "out", profile=None)
    with pytest.raises(ContainerError, match=r"^imageStore: the podman backend"):
        render_units(rendering)
    assert not (tmp_path / "out").exists()


def test_a_bundle_of_runc_has_a_cgroup_below_its_units(tmp_path: Path) -> None:
    resolved, made = bundle(tmp_path, runtime="runc", healthcheck={"test": ["CMD", "ok"]})
    assert made.config["linux"]["cgroupsPath"] == "container"
    # the unit says which devices may be opened
    assert made.config["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    lines = bundle_service(resolved, made, TOOLS, share=SHARE).render().splitlines()
    assert {"Delegate=true", "DelegateSubgroup=container-start"} <= set(lines)
    start = start_script(resolved, made, TOOLS, share=SHARE).splitlines()
    assert any("if /r/runc run --bundle=/out/share/nixoci/bundles/c " in line for line in start)
    assert any("[ -e /run/runc/c ]" in line for line in start)
    assert stop_script(resolved, made, TOOLS).startswith("/r/runc delete --force c")
    assert " /r/runc exec c ok\n" in health_units(resolved, TOOLS)[0].render()


def test_a_bundle_has_the_limits_of_podmans_containers(tmp_path: Path) -> None:
    lines = bundle_service(*bundle(tmp_path), TOOLS, share=SHARE).render().splitlines()
    assert {"LimitNOFILE=1048576", "LimitNPROC=1048576"} <= set(lines)


def test_no_time_to_stop_is_not_for_ever_and_leaves_time_to_clean_up(tmp_path: Path) -> None:
    def stop(path: str, seconds: int) -> list[str]:
        lines = bundle_service(*bundle(tmp_path / path, stopTimeout=seconds), TOOLS, share=SHARE).render().splitlines()
        return [line for line in lines if line.startswith(("KillSignal=", "TimeoutStopSec=", "SuccessExitStatus="))]

    assert stop("1", 0) == ["KillSignal=SIGKILL", "TimeoutStopSec=30s", "SuccessExitStatus=SIGKILL 137"]
    assert stop("2", 7) == ["KillSignal=SIGINT", "TimeoutStopSec=7s", "SuccessExitStatus=SIGINT 130"]


def test_podman_is_told_which_runtime_to_use(tmp_path: Path) -> None:
    assert "GlobalArgs=--runtime=/r/runc" in quadlet(tmp_path / "1", runtime="runc")
    assert not [line for line in quadlet(tmp_path / "2") if line.startswith("GlobalArgs")]


def test_podman_is_asked_to_say_that_it_runs_a_bare_tree(tmp_path: Path) -> None:
    assert "Environment=container=podman" in quadlet(tmp_path / "1", backend="rootfs")
    own = quadlet(tmp_path / "2", backend="rootfs", environment={"container": "x"})
    assert [line for line in own if "container=" in line] == ["Environment=container=x"]


def test_a_bundle_has_a_device_with_the_access_that_is_given(tmp_path: Path) -> None:
    devices = ["/dev/mine:r", "/dev/other", "/dev/fuse:/dev/x:rw"]
    lines = bundle_service(*bundle(tmp_path, devices=devices), TOOLS, share=SHARE).render().splitlines()
    allowed = {"/dev/mine r", "/dev/other rwm", "/dev/fuse rw"}
    assert {f"DeviceAllow={one}" for one in allowed} <= set(lines)
    assert "DeviceAllow=/dev/fuse rwm" not in lines


def test_a_container_of_a_pod_that_does_not_start_by_itself_does_not_start_with_the_pod(tmp_path: Path) -> None:
    more: dict[str, Any] = {"pods": {"p": {}}}
    assert "StartWithPod=false" in quadlet(tmp_path / "1", more=more, pod="p", autoStart=False)
    assert not [line for line in quadlet(tmp_path / "2", more=more, pod="p") if line.startswith("StartWithPod")]
    assert not [line for line in quadlet(tmp_path / "3", autoStart=False) if line.startswith("StartWithPod")]


def test_a_working_directory_that_podman_would_not_find_is_refused(tmp_path: Path) -> None:
    """podman makes the image's own, but not one that it is told of."""
    with pytest.raises(ContainerError, match=r"^containers\.c\.workdir: the image has no /not/there, "):
        quadlet(tmp_path / "1", workdir="/not/there")
    assert "PodmanArgs=--workdir=/not/there" in quadlet(tmp_path / "2", workdir="/not/there", volumes=["v:/not"])
    assert "PodmanArgs=--workdir=/srv" in quadlet(tmp_path / "3", workdir="/srv")


def test_a_capability_that_is_none_is_refused_when_podman_is_told(tmp_path: Path) -> None:
    for number, backend in enumerate(("podman", "rootfs")):
        with pytest.raises(ContainerError, match=r"^containers\.c\.capabilities: no capability 'FLY'"):
            quadlet(tmp_path / str(number), backend=backend, capabilities={"FLY": True})


def test_podman_finds_newuidmap_from_every_unit_of_a_user(tmp_path: Path) -> None:
    more: dict[str, Any] = {"volumes": {"v": {}}, "networks": {"n": {}}, "pods": {"p": {}}}
    own = {"unit": {"Service": {"Environment": ["PATH=/mine"]}}}
    lines = quadlet(tmp_path, user=True, more=more, settings=own)
    whole = deployment(tmp_path, {}, **more)
    files = [volume_file("v", whole.volumes["v"], user=True), network_file("n", whole.networks["n"], user=True)]
    files.append(pod_file("p", whole.pods["p"], whole, user=True))
    for unit in [lines, *(file.render().splitlines() for file in files)]:
        (path, *_) = [line for line in unit if line.startswith("Environment=PATH=")]
        assert "/run/wrappers/bin" in path.removeprefix("Environment=PATH=").split(":")
    # the last one counts
    assert lines.index("Environment=PATH=/mine") > lines.index(next(line for line in lines if "wrappers" in line))
    assert not [line for line in quadlet(tmp_path / "2") if "PATH" in line]
