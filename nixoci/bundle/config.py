"""A container's config.json (runtime-spec config.md, config-linux.md; image-spec conversion.md)."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nixoci.bundle import defaults, seccomp
from nixoci.bundle.root import Root, choose_root
from nixoci.container.model import Notify, Runtime
from nixoci.container.notation import Tmpfs
from nixoci.container.places import mount_source, root_directory, run_directory, secret_file
from nixoci.container.resolve import DEFAULT_PATH, DEFAULT_STOP_SIGNAL, ResolvedContainer
from nixoci.document import dump
from nixoci.tree.model import Inode, Kind

OCI_VERSION = "1.0.2"
"""The oldest version with every feature in use, so that old runtimes accept it too."""

HOST_FILES = ("hosts", "resolv.conf")
"""The files of the host's /etc that a container on the host network gets."""

CGROUP = "container"
"""The cgroup below the unit's that a runtime makes if it needs one of its own."""

NOTIFY_SOCKET = "/run/systemd/notify"

_TMPFS = ("rw", "rprivate", "nosuid", "nodev", "tmpcopyup")
_BIND = ("rbind", "rprivate", "nosuid", "nodev")
_VOLUME = ("rbind", "rprivate")
_ANNOTATION = "org.opencontainers.image."
_NEW_DIRECTORY = Inode(Kind.DIRECTORY)
_LOCALHOST = "127.0.0.1\tlocalhost\n::1\tlocalhost\n"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle: its config.json, the kind of its root, and the files that are mounted in /etc, by name."""

    config: dict[str, Any]
    root: Root
    etc_files: dict[str, str]

    def write(self, folder: Path) -> None:
        """Write the files of the bundle to its directory, which exists."""
        for name, text in {"config.json": dump(self.config), **self.etc_files}.items():
            (folder / name).write_text(text, encoding="utf-8")


def bundle_config(container: ResolvedContainer, profile: seccomp.Profile | None, *, folder: Path) -> Bundle:
    """Return the bundle of a container.

    Args:
        container: The container.
        profile: The seccomp profile (`nixoci.bundle.seccomp.read_profile`), None for no confinement.
        folder: The bundle's directory, as the target sees it.
    """
    parsed = container.parsed
    # a process that may remount could make a read-only bind mount of the store writable
    etc_files = {} if parsed.capabilities.may_mount else _etc_files(container)
    mounts = _mounts(container, {f"/etc/{name}": str(folder / name) for name in etc_files})
    root = choose_root(container, [mount["destination"] for mount in mounts])
    namespaces = ["pid", "ipc", "uts", "mount", "cgroup", *(["network"] if parsed.no_network else [])]
    linux: dict[str, Any] = {
        "namespaces": [{"type": kind} for kind in namespaces],
        "maskedPaths": list(defaults.MASKED_PATHS),
        "readonlyPaths": list(defaults.READONLY_PATHS),
    }
    if parsed.no_network:
        linux["sysctl"] = dict(defaults.SYSCTL)
    if parsed.runtime is Runtime.RUNC:
        linux["cgroupsPath"] = CGROUP
        # runc's rules apply in addition to the unit's (DeviceAllow=), and would forbid devices that the unit allows
        linux["resources"] = {"devices": [{"allow": True, "access": "rwm"}]}
    if profile is not None:
        architecture = container.tree.image.config.architecture
        linux["seccomp"] = seccomp.for_container(
            profile, architecture=architecture, capabilities=parsed.capabilities.bounding
        )
    config = {
        "ociVersion": OCI_VERSION,
        "process": _process(container),
        "root": {"path": _root_path(container, root), "readonly": container.declared.read_only},
        "hostname": container.hostname,
        "mounts": mounts,
        "annotations": _annotations(container),
        "linux": linux,
    }
    return Bundle(_merge(config, container.declared.settings.runtime), root, etc_files)


def _root_path(container: ResolvedContainer, root: Root) -> str:
    return str(container.tree.image.rootfs) if root is Root.TREE else root_directory(container.name)


def _etc_files(container: ResolvedContainer) -> dict[str, str]:
    """Return the files of /etc with the container's name and, without a network, the address of localhost.

    A read-only tree gets only the files that it already has, because a mount needs a mount point.
    """
    files = {"hostname": f"{container.hostname}\n"}
    if container.parsed.no_network:
        names = " ".join(dict.fromkeys([container.hostname, container.name]))
        files["hosts"] = f"{_LOCALHOST}127.0.0.1\t{names}\n"
    in_place = container.declared.read_only
    return {name: text for name, text in files.items() if not in_place or container.tree.find(f"/etc/{name}")}


def _process(container: ResolvedContainer) -> dict[str, Any]:
    user: dict[str, Any] = {"uid": container.user.uid, "gid": container.user.gid, "umask": 0o022}
    user["additionalGids"] = list(container.user.additional_gids)
    environment = {"PATH": DEFAULT_PATH} | container.environment
    for name, value in (
        ("container", "oci"),
        ("HOME", container.user.home or container.workdir),
        ("HOSTNAME", container.hostname),
    ):
        environment.setdefault(name, value)
    if container.declared.notify is Notify.CONTAINER:
        environment["NOTIFY_SOCKET"] = NOTIFY_SOCKET
    return {
        "terminal": False,
        "user": user,
        "args": list(container.args),
        "env": [f"{name}={value}" for name, value in environment.items()],
        "cwd": container.workdir,
        "capabilities": _capabilities(container),
        "noNewPrivileges": False,
    }


def _capabilities(container: ResolvedContainer) -> dict[str, list[str]]:
    """Return the capability sets as podman fills them: for root all of the bounding set, else those added by name."""
    bounding, added = list(container.parsed.capabilities.bounding), list(container.parsed.capabilities.added)
    if container.user.uid == 0:
        return {"bounding": bounding, "effective": bounding, "permitted": bounding}
    if not added:
        return {"bounding": bounding}
    return {"bounding": bounding} | dict.fromkeys(("effective", "inheritable", "permitted", "ambient"), added)


def _mounts(container: ResolvedContainer, files: dict[str, str]) -> list[dict[str, Any]]:
    """Return all mounts, in an order in which none hides another; `files` are the bundle's own, by their target."""
    declared, parsed = container.declared, container.parsed
    mounts = [dict(mount) for mount in defaults.KERNEL_MOUNTS]
    mounts += [_bind(source, target, ("ro",)) for target, source in files.items()]
    if declared.read_only:
        chosen = parsed.mount_targets
        mounts += [_tmpfs(container, Tmpfs(path)) for path in defaults.WRITABLE if path not in chosen]
    for path in container.image_volumes:
        if declared.read_only or container.tree.find(path) is None:
            mounts.append(_tmpfs(container, Tmpfs(path)))
    mounts += [_tmpfs(container, tmpfs) for tmpfs in parsed.tmpfs]
    for mount in parsed.volumes:
        mounts.append(_bind(mount_source(mount), mount.target, mount.options, _VOLUME))
    mounts += [_bind(device.source, device.target, ("dev",), _VOLUME) for device in parsed.devices]
    for secret in parsed.secrets:
        mounts.append(_bind(secret_file(container.name, secret.name), secret.target, ("ro",)))
    if declared.notify is Notify.CONTAINER:
        mounts.append(_bind(NOTIFY_SOCKET, NOTIFY_SOCKET, ()))
    if parsed.host_network:
        run = run_directory(container.name)
        mounts += [_bind(f"{run}/{file}", f"/etc/{file}", ("ro",)) for file in HOST_FILES]
    mounts.sort(key=lambda mount: mount["destination"].count("/"))
    by_target = {mount["destination"]: mount for mount in mounts}
    return list(by_target.values())


def _tmpfs(container: ResolvedContainer, tmpfs: Tmpfs) -> dict[str, Any]:
    """Return a file system in memory that starts as the directory it covers: its content, owner and mode."""
    options = list(_TMPFS)
    given = {option.partition("=")[0] for option in tmpfs.options}
    inode = container.tree.find(tmpfs.target) or _NEW_DIRECTORY
    for name, value in (("mode", f"{inode.mode:o}"), ("uid", str(inode.uid)), ("gid", str(inode.gid))):
        if name not in given:
            options.append(f"{name}={value}")
    for option in tmpfs.options:
        if option == "ro" and "rw" in options:
            options.remove("rw")
        if option not in options:
            options.append(option)
    return {"destination": tmpfs.target, "type": "tmpfs", "source": "tmpfs", "options": options}


def _bind(source: str, target: str, options: Iterable[str], base: tuple[str, ...] = _BIND) -> dict[str, Any]:
    undone = {"exec": "noexec", "dev": "nodev", "suid": "nosuid", "shared": "rprivate", "rshared": "rprivate"}
    undone |= {"slave": "rprivate", "rslave": "rprivate", "private": "rprivate"}
    kept = [option for option in base if option not in {undone.get(given) for given in options}]
    access = [] if {"ro", "rw"} & set(options) else ["rw"]
    merged = list(dict.fromkeys([*kept, *options, *access]))
    return {"destination": target, "type": "bind", "source": source, "options": merged}


def _annotations(container: ResolvedContainer) -> dict[str, str]:
    """Return the image's facts and, winning over them, the labels (conversion.md, Annotation Fields)."""
    config = container.tree.image.config
    exposed = ",".join(sorted((config.config.exposed_ports if config.config else None) or {}))
    implied = {
        "os": config.os,
        "architecture": config.architecture,
        "variant": config.variant,
        "author": config.author,
        "created": config.created,
        "stopSignal": container.stop_signal if container.stop_signal != DEFAULT_STOP_SIGNAL else None,
        "exposedPorts": exposed,
    }
    return {_ANNOTATION + name: value for name, value in implied.items() if value} | container.labels


def _merge(base: Any, over: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return base | {name: _merge(base[name], value) if name in base else value for name, value in over.items()}
