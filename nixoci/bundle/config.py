"""A container's config.json (runtime-spec config.md, config-linux.md; image-spec conversion.md)."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nixoci.bundle import defaults, seccomp
from nixoci.bundle.root import Root, choose_root, layer_volumes
from nixoci.container.environment import process_environment
from nixoci.container.model import Notify, Runtime, WritableLayer
from nixoci.container.notation import Mount, Source, Tmpfs
from nixoci.container.places import (
    layer_workdir,
    localtime_file,
    mount_source,
    root_directory,
    run_directory,
    secret_file,
)
from nixoci.container.resolve import ResolvedContainer
from nixoci.container.resolver import HostEntry
from nixoci.document import dump
from nixoci.tree.model import Inode, Kind

OCI_VERSION = "1.0.2"
"""The oldest version with every feature in use, so that old runtimes accept it too."""

CONFIG_PARTS = ("config.head", "config.tail")
"""The files with the two parts of a config.json that a start completes."""

CGROUP = "container"
"""The cgroup below the unit's that a runtime makes if it needs one of its own."""

NOTIFY_SOCKET = "/run/systemd/notify"

_TMPFS = ("rw", "rprivate", "nosuid", "nodev", "tmpcopyup")
_PODMAN_TMPFS_OPTIONS = {"U", "notmpcopyup", "copy", "nocopy", "consistency", "nocreate"}
"""The options of file systems in memory that podman itself implements: runtimes and the kernel know none of them."""

VOLUME_OPTIONS = ("rbind", "rprivate", "nosuid", "nodev")
"""The options that podman gives volumes."""
_OF_HOST = ("rbind", "rprivate")
"""Those of directories of the host, which are mounted as they are there."""
_ANNOTATION = "org.opencontainers.image."
NEW_DIRECTORY = Inode(Kind.DIRECTORY)
_LOCALHOST = "localhost"
_LIMITS = 2**64
"""The number of limits; the kernel's largest one, -1 as an unsigned number, is no limit."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle: its config.json, the kind of its root, and the files that are mounted in /etc, by name.

    `parts` are config.json before and after the variables of environment files, if there are any. A start joins them:
    each variable is a comma and a JSON string. Of two variables with one name, runtimes take the last.
    """

    config: dict[str, Any]
    root: Root
    etc_files: dict[str, str]
    parts: tuple[str, str] | None = None

    def write(self, folder: Path) -> None:
        """Write the files of the bundle to its directory, which exists."""
        files = {"config.json": dump(self.config), **self.etc_files}
        if self.parts is not None:
            files |= dict(zip(CONFIG_PARTS, self.parts, strict=True))
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")


def bundle_config(
    container: ResolvedContainer,
    profile: seccomp.Profile | None,
    *,
    folder: Path,
    image: Callable[[], str] | None = None,
) -> Bundle:
    """Return the bundle of a container.

    Args:
        container: The container.
        profile: The seccomp profile (`nixoci.bundle.seccomp.read_profile`), None for no confinement.
        folder: The bundle's directory, as the target sees it.
        image: Returns the mount point of the image there, which is then the root if nothing can be written. None for a
            bundle on its own: nobody mounts a layer for the image's volumes, which are then in memory.
    """
    parsed = container.parsed
    # a process that may remount could make a read-only bind mount of the store writable
    own = {} if parsed.capabilities.may_mount else etc_files(container)
    volumes = layer_volumes(container) if image is not None else {}
    mounts = _mounts(container, {f"/etc/{name}": str(folder / name) for name in own}, volumes)
    root = choose_root(container, [mount["destination"] for mount in mounts], layered=bool(volumes))
    namespaces = ["pid", "ipc", "uts", "mount", "cgroup", *(["network"] if parsed.no_network else [])]
    linux: dict[str, Any] = {
        "namespaces": [{"type": kind} for kind in namespaces],
        "maskedPaths": list(defaults.MASKED_PATHS),
        "readonlyPaths": list(defaults.READONLY_PATHS),
    }
    if parsed.no_network:
        linux["sysctl"] = dict(defaults.SYSCTL)
    if container.declared.sysctls:
        linux["sysctl"] = linux.get("sysctl", {}) | container.declared.sysctls
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
        "root": {"path": _root_path(container, root, image), "readonly": container.declared.read_only},
        "hostname": container.hostname,
        "mounts": mounts,
        "annotations": _annotations(container),
        "linux": linux,
    }
    merged = _merge(config, container.declared.settings.runtime)
    parts = _parts(merged, container) if container.declared.environment_files else None
    return Bundle(merged, root, own, parts)


def _parts(config: dict[str, Any], container: ResolvedContainer) -> tuple[str, str]:
    """Return config.json before and after the variables of files, which are followed by those that win over them."""
    mark = "="
    while mark in dump(config):
        mark += "="
    own = container.declared.environment | notify_variable(container)
    process = config["process"]
    env = [*process["env"], mark, *(f"{name}={value}" for name, value in own.items())]
    before, after = dump(config | {"process": process | {"env": env}}).split(f'"{mark}"')
    return before.rstrip().removesuffix(","), after


def _root_path(container: ResolvedContainer, root: Root, image: Callable[[], str] | None) -> str:
    if root is Root.TREE:
        return str(container.tree.image.rootfs)
    return image() if image is not None and root is Root.IMAGE else root_directory(container.name)


def etc_files(container: ResolvedContainer) -> dict[str, str]:
    """Return the files of /etc with the container's name and, without a network, the address of localhost.

    A read-only tree gets only the files that it already has, because a mount needs a mount point.
    """
    files = {"hostname": f"{container.hostname}\n"}
    if container.parsed.no_network:
        files["hosts"] = _hosts(container)
    in_place = container.declared.read_only
    needed = {"hosts"} if container.parsed.extra_hosts else set()
    return {
        name: text
        for name, text in files.items()
        if not in_place or name in needed or container.tree.find(f"/etc/{name}")
    }


def _hosts(container: ResolvedContainer) -> str:
    """Return /etc/hosts without a network: the container's own lines, and the names that they leave free."""
    own = container.parsed.extra_hosts
    taken = {name for entry in own for name in entry.names}
    lines = [entry.line for entry in own]
    for address, names in (
        ("127.0.0.1", (_LOCALHOST,)),
        ("::1", (_LOCALHOST,)),
        ("127.0.0.1", tuple(dict.fromkeys([container.hostname, container.name]))),
    ):
        free = tuple(name for name in names if name not in taken)
        lines += [HostEntry(address, free).line] if free else []
    return "".join(lines)


def host_files(container: ResolvedContainer) -> tuple[str, ...]:
    """Return the files of the host's /etc that a container gets a copy of: those of the host's network."""
    if not container.parsed.host_network:
        return ()
    return ("hosts",) if container.parsed.resolver.image_file else ("hosts", "resolv.conf")


def notify_variable(container: ResolvedContainer) -> dict[str, str]:
    """Return the variable that names the socket for reports of readiness, if the container makes them."""
    return {"NOTIFY_SOCKET": NOTIFY_SOCKET} if container.declared.notify is Notify.CONTAINER else {}


def _process(container: ResolvedContainer) -> dict[str, Any]:
    user: dict[str, Any] = {"uid": container.user.uid, "gid": container.user.gid, "umask": 0o022}
    user["additionalGids"] = list(container.user.additional_gids)
    environment = process_environment(container) | notify_variable(container)
    limits = [
        {"type": f"RLIMIT_{limit.name.upper()}", "soft": limit.soft % _LIMITS, "hard": limit.hard % _LIMITS}
        for limit in container.parsed.ulimits
    ]
    return {
        "terminal": False,
        "user": user,
        "args": list(container.args),
        "env": [f"{name}={value}" for name, value in environment.items()],
        "cwd": container.workdir,
        "capabilities": _capabilities(container),
        "noNewPrivileges": False,
    } | ({"rlimits": limits} if limits else {})


def _capabilities(container: ResolvedContainer) -> dict[str, list[str]]:
    """Return the capability sets as podman fills them: for root all of the bounding set, else those added by name."""
    bounding, added = list(container.parsed.capabilities.bounding), list(container.parsed.capabilities.added)
    if container.user.uid == 0:
        return {"bounding": bounding, "effective": bounding, "permitted": bounding}
    if not added:
        return {"bounding": bounding}
    return {"bounding": bounding} | dict.fromkeys(("effective", "inheritable", "permitted", "ambient"), added)


def _mounts(container: ResolvedContainer, files: dict[str, str], image_volumes: dict[str, str]) -> list[dict[str, Any]]:
    """Return all mounts, in an order in which none hides another.

    `files` are the bundle's own and `image_volumes` those of the layer, by their targets.
    """
    declared, parsed = container.declared, container.parsed
    mounts = _kernel_mounts(parsed.shm_size)
    run = run_directory(container.name)
    files = files | {f"/etc/{file}": f"{run}/{file}" for file in host_files(container)}
    if parsed.timezone is not None and not container.has_zone:
        files["/etc/localtime"] = localtime_file(container.name)
    mounts += [_bind(source, target, ("ro",)) for target, source in files.items()]
    if declared.read_only:
        chosen = parsed.mount_targets
        mounts += [_tmpfs(container, Tmpfs(path)) for path in defaults.WRITABLE if path not in chosen]
    mounts += _image_volumes(container, image_volumes)
    if lacks_workdir(container):
        mounts.append(_workdir(container))
    mounts += [_tmpfs(container, tmpfs) for tmpfs in parsed.tmpfs]
    mounts += [_bind(mount_source(mount), mount.target, volume_options(mount), ()) for mount in parsed.volumes]
    mounts += [_bind(device.source, device.target, ("dev",), _OF_HOST) for device in parsed.devices]
    for secret in parsed.secrets:
        mounts.append(_bind(secret_file(container.name, secret.name), secret.target, ("ro",)))
    if declared.notify is Notify.CONTAINER:
        mounts.append(_bind(NOTIFY_SOCKET, NOTIFY_SOCKET, ()))
    mounts.sort(key=lambda mount: mount["destination"].count("/"))
    by_target = {mount["destination"]: mount for mount in mounts}
    return list(by_target.values())


def _image_volumes(container: ResolvedContainer, layered: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the mounts of the volumes that the image declares; `layered` are those of the layer, by their targets."""
    for path in container.image_volumes:
        if container.tree.find(path) is None:
            yield _tmpfs(container, Tmpfs(path, ("U",)))
        elif path in layered:
            yield _bind(layered[path], path, ())
        elif container.declared.read_only:
            yield _tmpfs(container, Tmpfs(path))


def _kernel_mounts(shm_size: int | None) -> list[dict[str, Any]]:
    mounts = [dict(mount) for mount in defaults.KERNEL_MOUNTS]
    for mount in mounts:
        if shm_size is not None and mount["destination"] == defaults.SHM:
            sized = [option for option in mount["options"] if not option.startswith("size=")]
            mount["options"] = [*sized, f"size={shm_size}"]
    return mounts


def lacks_workdir(container: ResolvedContainer) -> bool:
    """Return whether the image has no working directory, and a runtime would make it for root: it is the user's."""
    return bool(container.user.uid) and not container.has_path(container.workdir)


def _workdir(container: ResolvedContainer) -> dict[str, Any]:
    if container.declared.writable_layer is WritableLayer.PERSISTENT:
        return _bind(layer_workdir(container.name), container.workdir, (), _OF_HOST)
    return _tmpfs(container, Tmpfs(container.workdir, ("U", "ro") if container.declared.read_only else ("U",)))


def _tmpfs(container: ResolvedContainer, tmpfs: Tmpfs) -> dict[str, Any]:
    """Return a file system in memory that starts as the directory it covers: its content, owner and mode.

    podman itself implements some options: with `U` it belongs to the container's user, with `notmpcopyup` it is empty.
    """
    options = list(_TMPFS)
    given = {option.partition("=")[0] for option in tmpfs.options}
    if "notmpcopyup" in given:
        options.remove("tmpcopyup")
    inode = container.tree.find(tmpfs.target) or NEW_DIRECTORY
    owner = container.user if "U" in given else inode
    for name, value in (("mode", f"{inode.mode:o}"), ("uid", str(owner.uid)), ("gid", str(owner.gid))):
        if name not in given:
            options.append(f"{name}={value}")
    for option in tmpfs.options:
        if option == "ro" and "rw" in options:
            options.remove("rw")
        if option not in options and option.partition("=")[0] not in _PODMAN_TMPFS_OPTIONS:
            options.append(option)
    return {"destination": tmpfs.target, "type": "tmpfs", "source": "tmpfs", "options": options}


def volume_options(mount: Mount) -> list[str]:
    """Return the options of a volume or a directory of the host: those of podman that it does not undo, and its own."""
    return _merged(_OF_HOST if mount.kind is Source.HOST_PATH else VOLUME_OPTIONS, mount.options)


def _bind(source: str, target: str, options: Iterable[str], base: tuple[str, ...] = VOLUME_OPTIONS) -> dict[str, Any]:
    merged = _merged(base, options)
    access = [] if {"ro", "rw"} & set(merged) else ["rw"]
    return {"destination": target, "type": "bind", "source": source, "options": merged + access}


def _merged(base: tuple[str, ...], options: Iterable[str]) -> list[str]:
    undone = {"exec": "noexec", "dev": "nodev", "suid": "nosuid", "shared": "rprivate", "rshared": "rprivate"}
    undone |= {"slave": "rprivate", "rslave": "rprivate", "private": "rprivate"}
    kept = [option for option in base if option not in {undone.get(given) for given in options}]
    return list(dict.fromkeys([*kept, *options]))


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
        "stopSignal": container.stop_signal,
        "exposedPorts": exposed,
    }
    return {_ANNOTATION + name: value for name, value in implied.items() if value} | container.labels


def _merge(base: Any, over: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return base | {name: _merge(base[name], value) if name in base else value for name, value in over.items()}
