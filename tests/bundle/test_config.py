from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from nixoci.bundle import defaults, seccomp
from nixoci.bundle.config import make_bundle
from nixoci.bundle.root import Root
from nixoci.container.model import Container, Notify, Runtime, Secret, Settings, WritableLayer
from nixoci.container.resolve import resolve
from nixoci.errors import ContainerError
from nixoci.tree.model import Inode, Kind
from tests.container.samples import make_image
from tests.support.runtime_spec import config_validator

FOLDER = Path("/nix/store/x-units/share/nixoci/bundles/c")
PROFILE: dict[str, Any] = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 38,
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
    "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [], "includes": {}, "excludes": {}},
        {"names": ["arm"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
        {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
    ],
}


def config_of(path: Path, image: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    container = Container(image="i", **({"cmd": ["run"], "networks": ["none"]} | options))
    config: dict[str, Any] = make_bundle(
        resolve("c", container, make_image(path, image)), PROFILE, folder=FOLDER
    ).config
    return config


def root_of(path: Path, extra: dict[str, Inode] | None = None, **options: Any) -> Root:
    container = Container(image="i", **({"cmd": ["run"], "networks": ["none"]} | options))
    return make_bundle(resolve("c", container, make_image(path, extra=extra)), None, folder=FOLDER).root


def mount_of(config: dict[str, Any], target: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = [mount for mount in config["mounts"] if mount["destination"] == target]
    assert len(found) == 1
    return found[0]


def test_the_process_is_the_containers(tmp_path: Path) -> None:
    image = {"Entrypoint": ["e"], "Env": ["A=1"], "WorkingDir": "/srv//x/..", "User": "web"}
    process = config_of(tmp_path, image, environment={"B": "2"})["process"]
    assert process["args"] == ["e", "run"]
    assert process["cwd"] == "/srv"
    assert process["user"] == {"uid": 33, "gid": 34, "umask": 0o022, "additionalGids": [34, 4, 5]}
    assert process["env"] == [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "A=1",
        "B=2",
        "container=oci",
        "HOME=/srv",
        "HOSTNAME=c",
    ]


def test_root_has_all_capabilities_that_it_may_have_and_others_what_was_added(tmp_path: Path) -> None:
    root = config_of(tmp_path / "1", capabilities={"NET_ADMIN": True, "CAP_KILL": False})["process"]["capabilities"]
    assert root["effective"] == root["bounding"] == root["permitted"]
    assert set(root["bounding"]) == {*defaults.CAPABILITIES, "CAP_NET_ADMIN"} - {"CAP_KILL"}
    user = config_of(tmp_path / "2", user="web")["process"]["capabilities"]
    assert user == {"bounding": sorted(defaults.CAPABILITIES)}
    added = config_of(tmp_path / "3", user="web", capabilities={"ALL": False, "CHOWN": True})["process"]["capabilities"]
    assert set(added) == {"bounding", "effective", "inheritable", "permitted", "ambient"}
    assert all(names == ["CAP_CHOWN"] for names in added.values())
    with pytest.raises(ContainerError, match=r"^containers\.c\.capabilities: no capability 'FLY'"):
        config_of(tmp_path / "4", capabilities={"FLY": True})


def test_a_container_knows_its_own_name(tmp_path: Path) -> None:
    def made(path: str, **options: Any) -> tuple[dict[str, str], set[str]]:
        container = Container(image="i", cmd=["run"], **options)
        extra = {"etc": Inode(Kind.DIRECTORY, children={b"hosts": Inode(Kind.REGULAR, 0o644)})}
        bundle = make_bundle(resolve("c", container, make_image(tmp_path / path, extra=extra)), None, folder=FOLDER)
        mounted = {mount["source"]: mount for mount in bundle.config["mounts"] if mount["source"].startswith("/nix")}
        assert all("ro" in mount["options"] for mount in mounted.values())
        return bundle.names, set(mounted)

    names, sources = made("1", networks=["none"], hostname="h")
    assert names == {
        "hostname": "h\n",
        "hosts": "127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.0.1\th c\n",
    }
    assert sources == {f"{FOLDER}/hosts", f"{FOLDER}/hostname"}
    assert set(made("2", networks=["host"])[0]) == {"hostname"}
    assert set(made("3", networks=["none"], read_only=True)[0]) == {"hosts"}
    assert made("4", networks=["none"], capabilities={"ALL": True}) == ({}, set())


def test_labels_win_over_implied_annotations(tmp_path: Path) -> None:
    image = {
        "Labels": {"org.opencontainers.image.os": "mine"},
        "StopSignal": "2",
        "ExposedPorts": {"2/udp": {}, "1": {}},
    }
    assert config_of(tmp_path, image)["annotations"] == {
        "org.opencontainers.image.os": "mine",
        "org.opencontainers.image.architecture": "amd64",
        "org.opencontainers.image.stopSignal": "SIGINT",
        "org.opencontainers.image.exposedPorts": "1,2/udp",
    }


def test_seccomp_is_for_the_architecture_and_the_capabilities() -> None:
    made = seccomp.for_container(PROFILE, architecture="amd64", capabilities=["CAP_CHOWN"])
    assert made["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    assert made["syscalls"] == [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
    ]
    admin = seccomp.for_container(PROFILE, architecture="arm64", capabilities=["CAP_SYS_ADMIN"])
    assert [rule["names"] for rule in admin["syscalls"]] == [["read"], ["arm"], ["mount"]]


def test_a_missing_profile_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ContainerError, match="--seccomp"):
        seccomp.read_profile(tmp_path / "none")


def test_memory_starts_as_the_directory_that_it_covers(tmp_path: Path) -> None:
    config = config_of(tmp_path, {"Volumes": {"/data": {}}}, read_only=True, tmpfs=["/srv:ro,mode=700,size=1m"])
    data = mount_of(config, "/data")["options"]
    assert {"tmpcopyup", "mode=750", "uid=33", "gid=34", "nosuid", "nodev", "rw"} <= set(data)
    srv = mount_of(config, "/srv")["options"]
    assert {"ro", "mode=700", "size=1m", "uid=0"} <= set(srv)
    assert "rw" not in srv
    assert {"/run", "/tmp", "/var/tmp"} <= {mount["destination"] for mount in config["mounts"]}  # noqa: S108


def test_no_mount_hides_another(tmp_path: Path) -> None:
    config = config_of(tmp_path, volumes=["/a:/x/y/z", "/b:/x", "v:/x/y:ro", "/s:/dev/shm"])
    targets = [mount["destination"] for mount in config["mounts"]]
    for index, target in enumerate(targets):
        assert not any(later in map(str, Path(target).parents) for later in targets[index:] if later != target)
    assert mount_of(config, "/x/y")["source"] == "/var/lib/nixoci/volumes/v"
    assert "ro" in mount_of(config, "/x/y")["options"]
    assert mount_of(config, "/dev/shm")["source"] == "/s"  # noqa: S108


def test_a_root_is_the_stores_tree_only_if_nothing_is_missing_or_lost(tmp_path: Path) -> None:
    plain = {"data": Inode(Kind.DIRECTORY)}
    assert root_of(tmp_path / "1", plain, read_only=True) is Root.TREE
    assert root_of(tmp_path / "2", plain) is Root.VOLATILE
    assert root_of(tmp_path / "3", plain, writable_layer=WritableLayer.PERSISTENT) is Root.PERSISTENT
    assert root_of(tmp_path / "4", read_only=True) is Root.OVERLAY  # /data is another user's
    assert root_of(tmp_path / "5", plain, read_only=True, workdir="/nowhere") is Root.VOLATILE
    assert root_of(tmp_path / "6", plain, read_only=True, volumes=["/a:/nowhere"]) is Root.VOLATILE
    assert root_of(tmp_path / "8", plain, read_only=True, volumes=["named:/data"]) is Root.OVERLAY
    assert root_of(tmp_path / "9", plain, read_only=True, capabilities={"SYS_ADMIN": True}) is Root.OVERLAY
    assert root_of(tmp_path / "7", plain, read_only=True, secrets={"s": Secret(source="/s")}) is Root.TREE


@pytest.mark.parametrize(
    "inode",
    [
        Inode(Kind.REGULAR, 0o600),
        Inode(Kind.REGULAR, 0o4755),
        Inode(Kind.REGULAR, 0o744),
        Inode(Kind.REGULAR, 0o644, gid=1),
        Inode(Kind.REGULAR, 0o644, xattrs={b"user.x": b""}),
        Inode(Kind.FIFO, 0o644),
        Inode(Kind.DIRECTORY, 0o1777),
    ],
)
def test_what_a_store_path_cannot_hold_needs_an_overlay(tmp_path: Path, inode: Inode) -> None:
    extra = {"data": Inode(Kind.DIRECTORY), "odd": inode}
    assert root_of(tmp_path, extra, read_only=True) is Root.OVERLAY


def test_a_root_of_the_store_is_read_only_and_cannot_be_replaced(tmp_path: Path) -> None:
    tree = make_image(tmp_path, extra={"data": Inode(Kind.DIRECTORY)})
    container = Container(image="i", cmd=["run"], networks=["none"], read_only=True)
    config = make_bundle(resolve("c", container, tree), None, folder=FOLDER).config
    assert config["root"] == {"path": str(tree.image.rootfs), "readonly": True}
    settings = Settings(runtime={"root": {"readonly": False}})
    with pytest.raises(ContainerError, match=r"^containers\.c\.settings\.runtime\.root: "):
        make_bundle(resolve("c", Container(image="i", cmd=["run"], settings=settings), tree), None, folder=FOLDER)


def test_settings_cannot_open_the_store(tmp_path: Path) -> None:
    mount = {"destination": "/x", "type": "bind", "source": "/nix/store/x", "options": ["rbind"]}
    with pytest.raises(
        ContainerError, match=r"^containers\.c\.settings\.runtime\.mounts: /nix/store/x is in the store"
    ):
        config_of(tmp_path / "1", settings=Settings(runtime={"mounts": [mount]}))
    config_of(tmp_path / "2", settings=Settings(runtime={"mounts": [mount | {"options": ["rbind", "ro"]}]}))


def test_settings_merge_into_the_config(tmp_path: Path) -> None:
    settings = Settings(
        runtime={"linux": {"rootfsPropagation": "slave"}, "process": {"oomScoreAdj": 5}, "hostname": "h"}
    )
    config = config_of(tmp_path, settings=settings)
    assert config["linux"]["rootfsPropagation"] == "slave"
    assert config["linux"]["maskedPaths"]
    assert config["process"]["oomScoreAdj"] == 5
    assert config["hostname"] == "h"


def test_a_container_that_says_when_it_is_ready_can_tell_systemd(tmp_path: Path) -> None:
    config = config_of(tmp_path, notify=Notify.CONTAINER)
    assert "NOTIFY_SOCKET=/run/systemd/notify" in config["process"]["env"]
    assert mount_of(config, "/run/systemd/notify")


def test_the_config_is_valid_by_the_runtime_specs_schema(tmp_path: Path) -> None:
    validator = config_validator()
    image = {"User": "web", "Volumes": {"/data": {}}, "Labels": {"a": "b"}}
    configs = [
        config_of(tmp_path / "1", image, read_only=True),
        config_of(tmp_path / "2", networks=["host"], volumes=["/a:/b"], devices=["/dev/null:/dev/x"]),
        config_of(tmp_path / "3", capabilities={"ALL": True}, secrets={"s": Secret(source="/s")}),
        config_of(tmp_path / "4", image, runtime=Runtime.RUNC, hostname="h"),
    ]
    for config in configs:
        validator.validate(config)
    configs[0]["linux"]["namespaces"][0]["type"] = "none such"
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(configs[0])
