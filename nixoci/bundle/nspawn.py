"""The form of a bundle that `systemd-nspawn --oci-bundle=` takes: version 1.0.0, and no key that it does not know.

systemd-nspawn mounts /proc, /sys, /dev, /run and /tmp itself, sets the host name, and ignores the options of binds.
"""

from typing import Any

from nixoci.bundle.config import Bundle
from nixoci.container.resolve import ResolvedContainer
from nixoci.errors import ContainerError

_VERSION = "1.0.0"
_OWN_MOUNTS = ("/dev", "/proc", "/sys", "/run", "/tmp")  # noqa: S108 - mount points inside
_PROPAGATION = {"private", "rprivate", "shared", "rshared", "slave", "rslave", "tmpcopyup"}
_ACTIONS = {f"SCMP_ACT_{name}" for name in ("ALLOW", "ERRNO", "KILL", "KILL_PROCESS", "KILL_THREAD", "LOG", "TRAP")}


def nspawn_config(container: ResolvedContainer, bundle: Bundle, *, image: str) -> dict[str, Any]:
    """Return a bundle's config.json for systemd-nspawn, with the mounted image as its root.

    Args:
        container: The container.
        bundle: Its bundle.
        image: The mount point of the image.

    Raises:
        ContainerError: systemd-nspawn cannot honor an option; the message starts with it.
    """
    _check(container)
    config = bundle.config
    user = {name: value for name, value in config["process"]["user"].items() if name != "umask"}
    linux = {name: value for name, value in config["linux"].items() if name not in {"cgroupsPath", "resources"}}
    if "seccomp" in linux:
        linux["seccomp"] = _seccomp(linux["seccomp"])
    own = {f"/etc/{name}" for name in bundle.etc_files}
    return config | {
        "ociVersion": _VERSION,
        "process": config["process"] | {"user": user},
        "root": {"path": image, "readonly": container.declared.read_only},
        "mounts": [_mount(each) for each in config["mounts"] if not _is_own(each["destination"], own)],
        "linux": linux,
    }


def _check(container: ResolvedContainer) -> None:
    declared, option = container.declared, container.option
    for field, value in (
        ("secrets", declared.secrets),
        ("devices", declared.devices),
        ("extraHosts", declared.extra_hosts),
        ("timezone", declared.timezone if not container.has_zone else None),
    ):
        if value:
            raise ContainerError(f"{option(field)}: systemd-nspawn has options of its own for that; use them")
    for index, mount in enumerate(container.parsed.volumes):
        if "ro" in mount.options:
            raise ContainerError(
                f"{option(f'volumes[{index}]')}: systemd-nspawn would mount it writable from a bundle; use its option"
                " --bind-ro="
            )


def _is_own(path: str, files: set[str]) -> bool:
    """Return whether systemd-nspawn itself makes a path, or mounts something above it."""
    return path in files or any(f"{path}/".startswith(f"{own}/") for own in _OWN_MOUNTS)


def _mount(mount: dict[str, Any]) -> dict[str, Any]:
    options = [each for each in mount["options"] if each not in _PROPAGATION]
    if mount["type"] == "bind":
        options = ["rbind" if "rbind" in options else "norbind"]
    return mount | {"options": options}


def _seccomp(seccomp: dict[str, Any]) -> dict[str, Any]:
    """Return a filter without error numbers, which are all EPERM here, and without actions that are unknown."""
    kept = {name: value for name, value in seccomp.items() if name in {"defaultAction", "architectures"}}
    rules = [
        {name: value for name, value in rule.items() if name != "errnoRet"}
        for rule in seccomp["syscalls"]
        if rule["action"] in _ACTIONS and rule["action"] != seccomp["defaultAction"]
    ]
    return kept | {"syscalls": rules}
