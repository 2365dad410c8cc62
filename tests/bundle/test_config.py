from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from nixoci.bundle.config import bundle_config
from nixoci.container.capabilities import DEFAULT_CAPABILITIES
from nixoci.container.model import Backend, Container, Deployment, Notify, Runtime, Secret, Settings
from nixoci.container.parse import parse_container
from nixoci.container.resolve import resolve
from nixoci.container.rules import check_resolved
from nixoci.errors import ContainerError
from nixoci.tree.model import Children, Inode, Kind
from tests.bundle.test_seccomp import PROFILE
from tests.container.samples import make_image, resolved
from tests.support.runtime_spec import config_validator

if TYPE_CHECKING:
    from nixoci.container.image_tree import ImageTree

FOLDER = Path("/nix/store/x-units/share/nixoci/bundles/c")


def config_of(path: Path, image: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    container = resolved(make_image(path, image), **({"cmd": ["run"], "networks": ["none"]} | options))
    config: dict[str, Any] = bundle_config(container, PROFILE, folder=FOLDER).config
    return config


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
    assert set(root["bounding"]) == {*DEFAULT_CAPABILITIES, "CAP_NET_ADMIN"} - {"CAP_KILL"}
    user = config_of(tmp_path / "2", user="web")["process"]["capabilities"]
    assert user == {"bounding": sorted(DEFAULT_CAPABILITIES)}
    added = config_of(tmp_path / "3", user="web", capabilities={"ALL": False, "CHOWN": True})["process"]["capabilities"]
    assert set(added) == {"bounding", "effective", "inheritable", "permitted", "ambient"}
    assert all(names == ["CAP_CHOWN"] for names in added.values())


def test_a_container_knows_its_own_name(tmp_path: Path) -> None:
    def made(path: str, **options: Any) -> tuple[dict[str, str], set[str]]:
        extra = {"etc": Inode(Kind.DIRECTORY, children=Children({b"hosts": Inode(Kind.REGULAR, 0o644)}))}
        container = resolved(make_image(tmp_path / path, extra=extra), cmd=["run"], **options)
        bundle = bundle_config(container, None, folder=FOLDER)
        mounted = {mount["source"]: mount for mount in bundle.config["mounts"] if mount["source"].startswith("/nix")}
        assert all("ro" in mount["options"] for mount in mounted.values())
        return bundle.etc_files, set(mounted)

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


def test_memory_starts_as_the_directory_that_it_covers(tmp_path: Path) -> None:
    config = config_of(
        tmp_path / "once", {"Volumes": {"/data": {}}}, read_only=True, tmpfs=["/srv:ro,mode=700,size=1m"]
    )
    data = mount_of(config, "/data")["options"]
    assert {"tmpcopyup", "mode=750", "uid=33", "gid=34", "nosuid", "nodev", "rw"} <= set(data)
    srv = mount_of(config, "/srv")["options"]
    assert {"ro", "mode=700", "size=1m", "uid=0"} <= set(srv)
    assert "rw" not in srv
    twice = mount_of(config_of(tmp_path / "twice", tmpfs=["/srv:ro,ro"]), "/srv")["options"]
    assert twice.count("ro") == 1
    assert {"/run", "/tmp", "/var/tmp"} <= {mount["destination"] for mount in config["mounts"]}  # noqa: S108


def test_no_mount_hides_another(tmp_path: Path) -> None:
    config = config_of(tmp_path, volumes=["/a:/x/y/z", "/b:/x", "v:/x/y:ro", "/s:/dev/shm"])
    targets = [mount["destination"] for mount in config["mounts"]]
    for index, target in enumerate(targets):
        assert not any(later in map(str, Path(target).parents) for later in targets[index:] if later != target)
    assert mount_of(config, "/x/y")["source"] == "/var/lib/nixoci/volumes/v"
    assert "ro" in mount_of(config, "/x/y")["options"]
    assert mount_of(config, "/dev/shm")["source"] == "/s"  # noqa: S108


def test_volumes_have_the_options_that_podman_gives_them(tmp_path: Path) -> None:
    config = config_of(tmp_path, volumes=["v:/named:ro", "w:/loose:suid,dev,noexec", "/srv:/host"])
    assert mount_of(config, "/named")["options"] == ["rbind", "rprivate", "nosuid", "nodev", "ro"]
    assert mount_of(config, "/loose")["options"] == ["rbind", "rprivate", "suid", "dev", "noexec", "rw"]
    assert mount_of(config, "/host")["options"] == ["rbind", "rprivate", "rw"]


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


def test_directories_that_the_image_lacks_are_the_users(tmp_path: Path) -> None:
    """As in libpod: a volume is given to the user of the process, and so is a working directory that is made."""
    image = {"User": "web", "Volumes": {"/lacks": {}}, "WorkingDir": "/app/new"}
    config = config_of(tmp_path / "1", image)
    for target in ("/lacks", "/app/new"):
        assert {"mode=755", "uid=33", "gid=34"} <= set(mount_of(config, target)["options"])
    covered = config_of(tmp_path / "2", image, tmpfs=["/app"])
    assert "/app/new" not in {mount["destination"] for mount in covered["mounts"]}
    assert "uid=0" in mount_of(covered, "/app")["options"]
    root = config_of(tmp_path / "3", {"WorkingDir": "/app/new"})
    assert "/app/new" not in {mount["destination"] for mount in root["mounts"]}
    fixed = config_of(tmp_path / "4", image, read_only=True)
    assert "ro" in mount_of(fixed, "/app/new")["options"]


def test_a_file_system_in_memory_has_podmans_own_options(tmp_path: Path) -> None:
    tmpfs = ["/a:U,size=5m", "/data:notmpcopyup,nocopy"]
    config = config_of(tmp_path, {"User": "web"}, tmpfs=tmpfs)
    own, empty = (mount_of(config, target)["options"] for target in ("/a", "/data"))
    assert {"uid=33", "gid=34", "size=5m", "tmpcopyup"} <= set(own)
    # a runtime knows none of these
    assert not {"U", "notmpcopyup", "tmpcopyup", "nocopy"} & {*empty, *(set(own) - {"tmpcopyup"})}


def test_limits_of_the_kernel_are_in_the_config(tmp_path: Path) -> None:
    config = config_of(tmp_path, shm_size="2m", sysctls={"kernel.msgmax": "9"})
    options = mount_of(config, "/dev/shm")["options"]  # noqa: S108 - a mount point inside
    assert [option for option in options if option.startswith("size=")] == [f"size={2 << 20}"]
    assert config["linux"]["sysctl"] == {"net.ipv4.ping_group_range": "0 0", "kernel.msgmax": "9"}


def test_limits_of_processes_are_in_the_config(tmp_path: Path) -> None:
    process = config_of(tmp_path, ulimits={"nofile": 5, "core": "0:-1"})["process"]
    # runtime-spec config.md, POSIX process; RLIM_INFINITY is the largest unsigned number
    assert process["rlimits"] == [
        {"type": "RLIMIT_NOFILE", "soft": 5, "hard": 5},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 2**64 - 1},
    ]
    assert "rlimits" not in config_of(tmp_path / "none")["process"]


def test_a_containers_own_hosts_come_first_and_keep_their_names(tmp_path: Path) -> None:
    hosts = ["db;c:10.0.0.1", "localhost:10.0.0.2"]
    container = resolved(make_image(tmp_path), cmd=["run"], networks=["none"], read_only=True, extra_hosts=hosts)
    bundle = bundle_config(container, None, folder=FOLDER)
    assert bundle.etc_files["hosts"] == "10.0.0.1\tdb c\n10.0.0.2\tlocalhost\n"
    assert mount_of(bundle.config, "/etc/hosts")["source"] == f"{FOLDER}/hosts"


def test_a_containers_own_file_hides_that_of_the_host(tmp_path: Path) -> None:
    # podman mounts nothing where the container mounts something
    config = config_of(
        tmp_path, networks=["host"], volumes=["/a:/etc/hosts:ro", "/b:/etc/localtime:ro"], timezone="local"
    )
    assert mount_of(config, "/etc/hosts")["source"] == "/a"
    assert mount_of(config, "/etc/localtime")["source"] == "/b"
    assert mount_of(config, "/etc/resolv.conf")["source"] == "/run/nixoci/c/resolv.conf"
    image_file = config_of(tmp_path / "own", networks=["host"], dns=["none"])
    assert "/etc/resolv.conf" not in [mount["destination"] for mount in image_file["mounts"]]


def test_a_time_zone_is_the_images_or_else_a_copy_of_the_hosts(tmp_path: Path) -> None:
    def tree(path: str, *zones: str, link: bool = False) -> ImageTree:
        files = {zone.encode(): Inode(Kind.REGULAR, 0o644) for zone in zones}
        usr = Inode(
            Kind.DIRECTORY,
            children=Children(
                {
                    b"share": Inode(
                        Kind.DIRECTORY,
                        children=Children({b"zoneinfo": Inode(Kind.DIRECTORY, children=Children(files))}),
                    )
                }
            ),
        )
        etc = {b"localtime": Inode(Kind.SYMLINK, 0o777, target=b"/usr/share/zoneinfo/UTC")} if link else {}
        return make_image(
            tmp_path / path, {"Cmd": ["x"]}, extra={"usr": usr, "etc": Inode(Kind.DIRECTORY, children=Children(etc))}
        )

    def seen(tree: ImageTree, **options: Any) -> tuple[str | None, bool]:
        container = resolved(tree, networks=["none"], backend=Backend.BUNDLE, **options)
        check_resolved(container)
        config = bundle_config(container, None, folder=FOLDER).config
        zones = [entry.removeprefix("TZ=") for entry in config["process"]["env"] if entry.startswith("TZ=")]
        mounted = {mount["destination"]: mount["source"] for mount in config["mounts"]}
        return (zones or [None])[0], mounted.get("/etc/localtime") == "/run/nixoci/c/localtime"

    linked, bare = tree("linked", "UTC", "CET", link=True), tree("bare")
    assert seen(linked, timezone="CET") == ("CET", False)
    assert seen(linked, timezone="CET", environment={"TZ": "UTC"}) == ("UTC", False)
    assert seen(bare, timezone="CET") == (None, True)
    assert seen(bare, timezone="local") == (None, True)
    assert seen(bare) == (None, False)
    # a mount there would hide the image's UTC
    for zone in ("local", "EET"):
        with pytest.raises(ContainerError, match=r"^containers\.c\.timezone: /etc/localtime of the image is a link"):
            seen(linked, timezone=zone)


def test_a_host_name_is_no_longer_than_linux_has_it(tmp_path: Path) -> None:
    tree = make_image(tmp_path, {"Cmd": ["x"]})
    container = resolve(parse_container(f"{'x' * 63}-y{'z' * 9}", Container(image="i"), Deployment()), tree)
    assert bundle_config(container, None, folder=FOLDER).config["hostname"] == "x" * 63
