"""Seccomp profiles: from the format of containers-common's seccomp.json to the runtime-spec's, for one container.

podman's built-in profile is the one that containers-common installs. Some of its rules apply only to certain
architectures or capabilities. Runtimes do not know such conditions.
"""

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nixoci.document import load, structure
from nixoci.errors import ContainerError, read_failure

DEFAULT_PROFILE = Path("/usr/share/containers/seccomp.json")
UNCONFINED = "unconfined"

_ARCHITECTURES = {
    "amd64": "SCMP_ARCH_X86_64",
    "386": "SCMP_ARCH_X86",
    "arm64": "SCMP_ARCH_AARCH64",
    "arm": "SCMP_ARCH_ARM",
    "ppc64le": "SCMP_ARCH_PPC64LE",
    "s390x": "SCMP_ARCH_S390X",
    "riscv64": "SCMP_ARCH_RISCV64",
    "loong64": "SCMP_ARCH_LOONGARCH64",
    "mips64le": "SCMP_ARCH_MIPSEL64",
}
"""Go's names of architectures, as in images, and libseccomp's."""

Profile = dict[str, Any]
_CALL = re.compile(r"[a-z0-9_]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Condition:
    arches: list[str] | None = None
    caps: list[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    names: list[str]
    action: str
    errno_ret: int | None = None
    args: list[dict[str, Any]] | None = None
    includes: _Condition | None = None
    excludes: _Condition | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Architecture:
    architecture: str
    sub_architectures: list[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """The parts of a profile that nixoci reads; the rest is for runtimes."""

    default_action: str
    default_errno_ret: int | None = None
    arch_map: list[_Architecture] | None = None
    syscalls: list[_Rule] | None = None


def read_profile(file: str | os.PathLike[str]) -> Profile:
    """Read a profile.

    Raises:
        ContainerError: The file cannot be read, or is no profile.
        DocumentError: It is not JSON, or a part of it is not of the right type.
    """
    try:
        profile = load(Path(file).read_bytes(), what=os.fspath(file))
    except OSError as error:
        otherwise = (
            f"{file}: no seccomp profile: {error.strerror}; name containers-common's seccomp.json with --seccomp,"
            f" or use --seccomp={UNCONFINED}"
        )
        raise ContainerError(read_failure(file, error, otherwise=otherwise)) from error
    if not isinstance(profile, dict) or "defaultAction" not in profile:
        raise ContainerError(f"{file}: not a seccomp profile: it has no defaultAction; name another with --seccomp")
    for rule in structure(_Shape, profile, what=os.fspath(file)).syscalls or []:
        if wrong := [name for name in rule.names if not _CALL.fullmatch(name)]:
            raise ContainerError(f"{file}: {wrong[0]!r} is not the name of a system call; name another with --seccomp")
    return profile


def as_profile(given: Profile | str | os.PathLike[str] | None) -> Profile | None:
    """Return a profile that is one already, or that a file has; None for none.

    Raises:
        ContainerError: The file cannot be read, or is no profile.
        DocumentError: It is not JSON, or a part of it is not of the right type.
    """
    return read_profile(given) if isinstance(given, (str, os.PathLike)) else given


def for_container(profile: Profile, *, architecture: str, capabilities: Collection[str]) -> dict[str, Any]:
    """Return `linux.seccomp` (runtime-spec config-linux.md, Seccomp) for a container.

    Args:
        profile: As `read_profile` returns it.
        architecture: The image's, by Go's name.
        capabilities: The bounding set.
    """
    result: dict[str, Any] = {"defaultAction": profile["defaultAction"]}
    if (errno := profile.get("defaultErrnoRet")) is not None:
        result["defaultErrnoRet"] = errno
    native = _ARCHITECTURES.get(architecture)
    for entry in profile.get("archMap") or []:
        if entry["architecture"] == native:
            result["architectures"] = [native, *(entry.get("subArchitectures") or [])]
    result["syscalls"] = [
        _rule(rule)
        for rule in profile.get("syscalls") or []
        if _holds(rule, architecture=architecture, capabilities=set(capabilities))
    ]
    return result


def _holds(rule: dict[str, Any], *, architecture: str, capabilities: set[str]) -> bool:
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    return (
        architecture in (includes.get("arches") or [architecture])
        and architecture not in (excludes.get("arches") or [])
        and capabilities.issuperset(includes.get("caps") or [])
        and capabilities.isdisjoint(excludes.get("caps") or [])
    )


def _rule(rule: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {"names": rule["names"], "action": rule["action"]}
    if (errno := rule.get("errnoRet")) is not None:
        kept["errnoRet"] = errno
    if rule.get("args"):
        kept["args"] = [
            {name: value for name, value in argument.items() if name != "valueTwo" or value}
            for argument in rule["args"]
        ]
    return kept
