"""dockerd: its configuration as far as it decides about images, and the process that may run."""

import codecs
import fcntl
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from nixoci.document import key, parse
from nixoci.engines.docker.data_root import DATA_ROOT, DRIVER, DataRoot, entries, inside
from nixoci.errors import ProcessError, StoreError
from nixoci.systemd import unit_commands

CONFIG_FILE = Path("/etc/docker/daemon.json")
PID_FILE = Path("/run/docker.pid")
SERVICE = "docker.service"

_CONTAINERD = "containerd-snapshotter"
_WAY = "`nixoci register containerd STORE --namespace moby` registers images there"
_REMAPPED = re.compile(r"\d+\.\d+")
_CONFIG_FILE_OPTIONS = ("--config-file",)
_DATA_ROOT_OPTIONS = ("--data-root", "--graph", "-g")
_DRIVER_OPTIONS = ("--storage-driver", "-s")
_USERNS_OPTIONS = ("--userns-remap",)
_FEATURE_OPTIONS = ("--feature",)

_PRIOR_DRIVERS = ("aufs", "btrfs", "devicemapper", "fuse-overlayfs", "overlay", "zfs")
"""Drivers that dockerd takes for the one in use if their directory in the data root has something in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonConfig:
    """The parts of `daemon.json` that matter here."""

    data_root: str = field(default="", metadata=key("data-root"))
    storage_driver: str = field(default="", metadata=key("storage-driver"))
    userns_remap: str = field(default="", metadata=key("userns-remap"))
    features: Mapping[str, bool] = field(default_factory=dict)


def read_config(file: Path | None, words: Sequence[str] = (), *, machine: Path | None = None) -> DaemonConfig:
    """Return dockerd's configuration; with an empty file, all is as dockerd has it by default.

    As for dockerd, a file that is named has to be there, and the usual one need not.

    Args:
        file: The file; None for the one that the arguments name, or the usual one.
        words: Arguments of dockerd. It refuses to start if the file has the same option.
        machine: The root directory of the machine that has the file; None for this machine.

    Raises:
        DocumentError: The file is not valid.
        StoreError: A file that is named does not exist.
    """
    named = _option(words, _CONFIG_FILE_OPTIONS)
    file = file or (Path(named) if named else None)
    config = _read(file or CONFIG_FILE, machine, is_named=file is not None)
    return DaemonConfig(
        data_root=_option(words, _DATA_ROOT_OPTIONS) or config.data_root,
        storage_driver=_option(words, _DRIVER_OPTIONS) or config.storage_driver,
        userns_remap=_option(words, _USERNS_OPTIONS) or config.userns_remap,
        features={**config.features, **_features(words)},
    )


def _read(path: Path, machine: Path | None, *, is_named: bool) -> DaemonConfig:
    file = inside(path, machine)
    try:
        text = file.read_bytes().removeprefix(codecs.BOM_UTF8)
    except FileNotFoundError as error:
        if is_named:
            without = f"give {os.devnull}" if machine is None else "leave it out"
            raise StoreError(
                f"{file}: there is no such file, without which dockerd does not start; correct --config-file, or"
                f" {without} for a Docker without a configuration"
            ) from error
        return DaemonConfig()
    return parse(DaemonConfig, text, what=str(file)) if text.strip() else DaemonConfig()


def service_arguments() -> list[str]:
    """Return the arguments that dockerd gets from its service; none if systemd does not know it."""
    with suppress(ProcessError):
        for program, *arguments in filter(None, unit_commands(SERVICE)):
            if Path(program).name == "dockerd":
                return arguments
    return []


def check_storage(root: DataRoot, config: DaemonConfig) -> None:
    """Check that Docker keeps images in this data root with the driver overlay2, and without mapped users.

    Raises:
        StoreError: It does not.
    """
    if config.features.get(_CONTAINERD, False):
        raise StoreError(f"Docker: keeps its images in containerd (features.{_CONTAINERD}); {_WAY}")
    if config.storage_driver not in {"", DRIVER}:
        raise StoreError(
            f"Docker: its storage driver is {config.storage_driver}, and only {DRIVER} takes images of a store; set"
            f' "storage-driver": "{DRIVER}", or leave it out'
        )
    if config.userns_remap or _REMAPPED.fullmatch(root.path.name):
        raise StoreError(
            f"Docker: maps users (userns-remap={config.userns_remap or root.path.name}), but files of mounted images"
            " have the owners that images give; leave userns-remap out, or run the image with podman"
        )
    if config.storage_driver:
        return
    used = root.drivers()
    if not used and root.containers.is_dir():
        raise StoreError(f"{root.path}: Docker keeps its images in containerd; {_WAY}")
    others = [name for name in _PRIOR_DRIVERS if any(entries(root.path / name))]
    others += [name for name in used if DRIVER not in used]
    if others:
        raise StoreError(
            f"{root.path}: Docker's storage driver is {others[0]} here, and only {DRIVER} takes images of a store; move"
            f" to {DRIVER}, or give the --data-root of a Docker with it"
        )


def running_daemon(root: DataRoot, config: DaemonConfig, *, pid_file: Path = PID_FILE) -> bool:
    """Return whether a dockerd runs with this data root.

    It holds a lock on its list of volumes (boltdb), from soon after its start. Before that, there is its PID file.
    """
    return _is_locked(root.path / "volumes/metadata.db") or _starts(root, config, pid_file)


def _is_locked(file: Path) -> bool:
    try:
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _starts(root: DataRoot, config: DaemonConfig, pid_file: Path) -> bool:
    with suppress(OSError, ValueError):
        process = Path("/proc") / str(int(pid_file.read_text(encoding="ascii")))
        words = (process / "cmdline").read_bytes().decode("utf-8", "surrogateescape").split("\0")
        if Path(words[0]).name != "dockerd":
            return False
        return _same(_option(words[1:], _DATA_ROOT_OPTIONS) or config.data_root or DATA_ROOT, root.path)
    return False


def _option(words: Sequence[str], names: Collection[str]) -> str:
    return next(_values(words, names), "")


def _features(words: Sequence[str]) -> dict[str, bool]:
    given = (value.partition("=") for value in _values(words, _FEATURE_OPTIONS))
    return {name: value not in {"false", "0"} for name, _, value in given}


def _values(words: Sequence[str], names: Collection[str]) -> Iterator[str]:
    for number, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in names:
            yield value if equals else "".join(words[number + 1 : number + 2])


def _same(path: str, other: Path) -> bool:
    return os.path.realpath(path) == os.path.realpath(other)
