"""A container's config.json, as the runtime-spec wants it (config.md, config-linux.md; image-spec conversion.md)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nixoci.bundle import defaults, seccomp
from nixoci.bundle.root import Root, choose_root
from nixoci.container.model import Notify, Runtime
from nixoci.container.notation import Mount
from nixoci.container.resolve import DEFAULT_PATH, DEFAULT_STOP_SIGNAL, Resolved
from nixoci.container.rules import in_store
from nixoci.document import dump
from nixoci.errors import ContainerError
from nixoci.tree.model import Inode, Kind

OCI_VERSION = "1.0.2"
"""The oldest version that has all that is used, so that old runtimes take it too."""

HOST_FILES = ("hosts", "resolv.conf")
"""What a container of the network of the host has in /etc of the host's."""

RUN = "/run/nixoci"
"""Where running containers have their mounts and secrets, one directory each."""

STATE = "/var/lib/nixoci"
"""Where containers keep what stays: `NAME/upper` and `NAME/work`, and `volumes/NAME`."""

CGROUP = "container"
"""The cgroup that a runtime which needs one of its own makes, below that of the unit."""

NOTIFY_SOCKET = "/run/systemd/notify"

_TMPFS = ("rw", "rprivate", "nosuid", "nodev", "tmpcopyup")
_BIND = ("rbind", "rprivate", "nosuid", "nodev")
_VOLUME = ("rbind", "rprivate")
_ANNOTATION = "org.opencontainers.image."
_NEW_DIRECTORY = Inode(Kind.DIRECTORY)
_LOCALHOST = "127.0.0.1\tlocalhost\n::1\tlocalhost\n"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle: its config.json, how the unit makes the root that it names, and what /etc of the container gets."""

    config: dict[str, Any]
    root: Root
    names: dict[str, str]

    def write(self, folder: Path) -> None:
        """Write the files of the bundle to its directory, which exists."""
        for name, text in {"config.json": dump(self.config), **self.names}.items():
            (folder / name).write_text(text, encoding="utf-8")


def make_bundle(resolved: Resolved, profile: seccomp.Profile | None, *, folder: Path) -> Bundle:
    """Write a container's config.json.

    Args:
        resolved: The container.
        folder: The bundle's directory, as the target sees it.
        profile: The seccomp profile (`nixoci.bundle.seccomp.read_profile`), None for no confinement.

    Raises:
        ContainerError: A capability does not exist, or `settings.runtime` sets the root or opens the store.
    """
    bounding, added = defaults.capabilities(resolved.option("capabilities"), resolved.container.capabilities)
    may_mount = "CAP_SYS_ADMIN" in bounding
    # what may remount could make a read-only bind of the store writable
    names = {} if may_mount else _names(resolved)
    mounts = _mounts(resolved, {f"/etc/{name}": str(folder / name) for name in names})
    root = choose_root(resolved, [mount["destination"] for mount in mounts], may_mount=may_mount)
    own_network = resolved.container.networks == ["none"]
    namespaces = ["pid", "ipc", "uts", "mount", "cgroup", *(["network"] if own_network else [])]
    linux: dict[str, Any] = {
        "namespaces": [{"type": kind} for kind in namespaces],
        "maskedPaths": list(defaults.MASKED_PATHS),
        "readonlyPaths": list(defaults.READONLY_PATHS),
    }
    if own_network:
        linux["sysctl"] = dict(defaults.SYSCTL)
    if resolved.container.runtime is Runtime.RUNC:
        linux["cgroupsPath"] = CGROUP
        # else runc's own rules would forbid what the unit's, which hold as well, allow (DeviceAllow=)
        linux["resources"] = {"devices": [{"allow": True, "access": "rwm"}]}
    if profile is not None:
        architecture = resolved.tree.image.config.architecture
        linux["seccomp"] = seccomp.for_container(profile, architecture=architecture, capabilities=bounding)
    config = {
        "ociVersion": OCI_VERSION,
        "process": _process(resolved, bounding, added),
        "root": {"path": _root_path(resolved, root), "readonly": resolved.container.read_only},
        "hostname": _hostname(resolved),
        "mounts": mounts,
        "annotations": _annotations(resolved),
        "linux": linux,
    }
    settings = resolved.container.settings.runtime
    if "root" in settings:
        raise ContainerError(
            f"{resolved.option('settings.runtime.root')}: the unit mounts the root so that the store stays as it is;"
            " use readOnly and writableLayer"
        )
    merged = _merge(config, settings)
    for mount in merged["mounts"]:
        source, options = str(mount.get("source", "")), mount.get("options", [])
        if in_store(source, [str(resolved.tree.image.path)]) and "ro" not in options:
            raise ContainerError(
                f"{resolved.option('settings.runtime.mounts')}: {source} is in the store and would be writable; add the"
                " option ro"
            )
    return Bundle(merged, root, names)


def named_volume(name: str) -> str:
    """Return the directory of a bundle's named volume."""
    return f"{STATE}/volumes/{name}"


def run_directory(container: str) -> str:
    """Return the directory of a running container, which is root's alone.

    Programs of images, suid ones among them, are nothing for the host's users.
    """
    return f"{RUN}/{container}"


def secret_file(container: str, secret: str) -> str:
    """Return where a bundle's unit puts a secret for its container's user."""
    return f"{run_directory(container)}/secrets/{secret}"


def _root_path(resolved: Resolved, root: Root) -> str:
    return str(resolved.tree.image.rootfs) if root is Root.TREE else f"{run_directory(resolved.name)}/root"


def _hostname(resolved: Resolved) -> str:
    return resolved.container.hostname or resolved.name


def _names(resolved: Resolved) -> dict[str, str]:
    """Return the files of /etc that say what the container is called, and without a network where localhost is.

    A tree that cannot be written has those that it has a place for: nothing could be mounted elsewhere.
    """
    hostname = _hostname(resolved)
    names = {"hostname": f"{hostname}\n"}
    if resolved.container.networks == ["none"]:
        names["hosts"] = f"{_LOCALHOST}127.0.0.1\t{' '.join(dict.fromkeys([hostname, resolved.name]))}\n"
    in_place = resolved.container.read_only
    return {name: text for name, text in names.items() if not in_place or resolved.tree.find(f"/etc/{name}")}


def _process(resolved: Resolved, bounding: list[str], added: list[str]) -> dict[str, Any]:
    user: dict[str, Any] = {"uid": resolved.user.uid, "gid": resolved.user.gid, "umask": 0o022}
    user["additionalGids"] = list(resolved.user.additional_gids)
    environment = {"PATH": DEFAULT_PATH} | resolved.environment
    for name, value in (
        ("container", "oci"),
        ("HOME", resolved.user.home or resolved.workdir),
        ("HOSTNAME", _hostname(resolved)),
    ):
        environment.setdefault(name, value)
    if resolved.container.notify is Notify.CONTAINER:
        environment["NOTIFY_SOCKET"] = NOTIFY_SOCKET
    return {
        "terminal": False,
        "user": user,
        "args": list(resolved.args),
        "env": [f"{name}={value}" for name, value in environment.items()],
        "cwd": resolved.workdir,
        "capabilities": _capabilities(resolved, bounding, added),
        "noNewPrivileges": False,
    }


def _capabilities(resolved: Resolved, bounding: list[str], added: list[str]) -> dict[str, list[str]]:
    """Return the sets as podman fills them: root has all that it may have, another user what was added by name."""
    if resolved.user.uid == 0:
        return {"bounding": bounding, "effective": bounding, "permitted": bounding}
    if not added:
        return {"bounding": bounding}
    return {"bounding": bounding} | dict.fromkeys(("effective", "inheritable", "permitted", "ambient"), added)


def _mounts(resolved: Resolved, files: dict[str, str]) -> list[dict[str, Any]]:
    """Return all mounts, in an order in which none hides another; `files` are the bundle's own, by their target."""
    mounts = [dict(mount) for mount in defaults.KERNEL_MOUNTS]
    mounts += [_bind(source, target, ("ro",)) for target, source in files.items()]
    chosen = {mount.target for mount in (*resolved.tmpfs, *resolved.volumes)}
    if resolved.container.read_only:
        mounts += [_tmpfs(resolved, Mount("tmpfs", path)) for path in defaults.WRITABLE if path not in chosen]
    for path in resolved.image_volumes:
        if resolved.container.read_only or resolved.tree.find(path) is None:
            mounts.append(_tmpfs(resolved, Mount("tmpfs", path)))
    mounts += [_tmpfs(resolved, mount) for mount in resolved.tmpfs]
    for mount in resolved.volumes:
        source = mount.source if mount.is_path else named_volume(mount.source)
        mounts.append(_bind(source, mount.target, mount.options, _VOLUME))
    mounts += [_bind(mount.source, mount.target, ("dev",), _VOLUME) for mount in resolved.devices]
    for name, secret in resolved.container.secrets.items():
        mounts.append(_bind(secret_file(resolved.name, name), secret.target or f"/run/secrets/{name}", ("ro",)))
    if resolved.container.notify is Notify.CONTAINER:
        mounts.append(_bind(NOTIFY_SOCKET, NOTIFY_SOCKET, ()))
    if resolved.container.networks == ["host"]:
        run = run_directory(resolved.name)
        mounts += [_bind(f"{run}/{file}", f"/etc/{file}", ("ro",)) for file in HOST_FILES]
    mounts.sort(key=lambda mount: mount["destination"].count("/"))
    by_target = {mount["destination"]: mount for mount in mounts}
    return list(by_target.values())


def _tmpfs(resolved: Resolved, mount: Mount) -> dict[str, Any]:
    """Return a file system in memory that starts as the directory it covers: its content, owner and mode."""
    options = list(_TMPFS)
    given = {option.partition("=")[0] for option in mount.options}
    inode = resolved.tree.find(mount.target) or _NEW_DIRECTORY
    for name, value in (("mode", f"{inode.mode:o}"), ("uid", str(inode.uid)), ("gid", str(inode.gid))):
        if name not in given:
            options.append(f"{name}={value}")
    for option in mount.options:
        if option == "ro":
            options.remove("rw")
        if option not in options:
            options.append(option)
    return {"destination": mount.target, "type": "tmpfs", "source": "tmpfs", "options": options}


def _bind(source: str, target: str, options: tuple[str, ...], base: tuple[str, ...] = _BIND) -> dict[str, Any]:
    undone = {"exec": "noexec", "dev": "nodev", "suid": "nosuid", "shared": "rprivate", "rshared": "rprivate"}
    undone |= {"slave": "rprivate", "rslave": "rprivate", "private": "rprivate"}
    kept = [option for option in base if option not in {undone.get(given) for given in options}]
    access = [] if {"ro", "rw"} & set(options) else ["rw"]
    merged = list(dict.fromkeys([*kept, *options, *access]))
    return {"destination": target, "type": "bind", "source": source, "options": merged}


def _annotations(resolved: Resolved) -> dict[str, str]:
    """Return the image's facts and, winning over them, the labels (conversion.md, Annotation Fields)."""
    config = resolved.tree.image.config
    exposed = ",".join(sorted((config.config.exposed_ports if config.config else None) or {}))
    implied = {
        "os": config.os,
        "architecture": config.architecture,
        "variant": config.variant,
        "author": config.author,
        "created": config.created,
        "stopSignal": resolved.stop_signal if resolved.stop_signal != DEFAULT_STOP_SIGNAL else None,
        "exposedPorts": exposed,
    }
    return {_ANNOTATION + name: value for name, value in implied.items() if value} | resolved.labels


def _merge(base: Any, over: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return base | {name: _merge(base[name], value) if name in base else value for name, value in over.items()}
