"""Checks of the kernel and of the programs that nixoci runs."""

import re
from collections.abc import Iterator

from nixoci.doctor.facts import Facts, version_of
from nixoci.doctor.finding import Finding, ok, problem, warning
from nixoci.image_store.storage_conf import GRAPH_ROOT, RUN_ROOT
from nixoci.units.systemd_service import OLDEST_SYSTEMD

KERNEL = (6, 12)
"""Mounts EROFS files, without a loop device."""

KERNEL_ROOTLESS = (6, 18)
"""Has what the mount program of a rootless store needs."""

PODMAN = (5, 3)
"""Mounts the EROFS files of an image store."""

PODMAN_DROP_INS = (5, 8)
"""Reads drop-ins of storage.conf."""


def reads_drop_ins(podman: tuple[int, ...] | None) -> bool:
    """Return whether a version of podman reads drop-ins of storage.conf, or is not known."""
    return podman is None or podman >= PODMAN_DROP_INS


NIX = (2, 18)

SYSTEMD = (OLDEST_SYSTEMD,)
"""Has what the backend `systemd` needs."""

_ROOTS = "root must be set"
"""Part of the message of a podman before 5.8 whose storage.conf does not name its own directories."""

_SESSION = "lstat /run/user/"
"""Part of podman's message to a user without a session, whose $XDG_RUNTIME_DIR is not there."""

TESTED_KERNEL = (6, 18)
TESTED_PODMAN = (5, 8)
TESTED_NIX = (2, 34)
TESTED_SYSTEMD = (262,)
"""The versions that nixoci's tests run on; between these and the oldest ones everything should work, untried."""

_SYSTEMD_VERSION = re.compile(r"systemd ([0-9]{1,9})\b")


def check_kernel(facts: Facts) -> Finding:
    """Judge the kernel's version: it mounts an image's metadata over its tree."""
    needed = KERNEL_ROOTLESS if facts.rootless else KERNEL
    found = version_of(facts.kernel)
    if found is None:
        return warning("kernel", f"{facts.kernel!r} is no version", f"use Linux {_text(needed)} or newer")
    if found >= needed:
        return ok("kernel", facts.kernel + _untested(found, TESTED_KERNEL))
    what = f"{facts.kernel}; {'rootless ' if facts.rootless else ''}image stores need {_text(needed)} or newer"
    return _plain_or_problem("kernel", what, facts, f"install Linux {_text(needed)}")


def check_podman(facts: Facts) -> Iterator[Finding]:
    """Judge podman: its version, and its ability to start at all."""
    if "podman" not in facts.programs:
        without = "only other engines and the backends `bundle` and `systemd` run without it"
        yield problem("podman", "not on PATH", f"install podman 5.3 or newer; {without}")
        return
    found = facts.version("podman")
    text = facts.programs["podman"]
    if found is None:
        if not facts.podman_error:
            yield warning("podman", _without_version("podman", text), f"use podman {_text(PODMAN)} or newer")
    elif found < PODMAN:
        what = f"{_text(found)}; image stores with owners and modes need {_text(PODMAN)} or newer"
        yield _plain_or_problem("podman", what, facts, f"install podman {_text(PODMAN)}")
    elif not reads_drop_ins(found):
        yield ok(
            "podman",
            f"{_text(found)}; it reads storage.conf, but no drop-ins, which need {_text(PODMAN_DROP_INS)}"
            f"{_untested(found, TESTED_PODMAN)}",
        )
    else:
        yield ok("podman", _text(found))
    if facts.podman_error:
        advice = "every podman command fails until this is mended; the other lines may name the cause"
        if facts.rootless and _SESSION in facts.podman_error:
            advice = (
                f"log in as {facts.user} and not by su or sudo, or run `loginctl enable-linger {facts.user}` as root:"
                " the user's systemd makes this directory"
            )
        elif _ROOTS in facts.podman_error:
            advice = (
                f'write runroot = "{RUN_ROOT}" and graphroot = "{GRAPH_ROOT}" below'
                " [storage] of storage.conf: a podman before 5.8 needs them"
            )
        yield problem("podman info", facts.podman_error, advice)


def check_mkcomposefs(facts: Facts) -> Finding:
    """Judge mkcomposefs, which `nixoci image-store` runs outside of Nix."""
    if "mkcomposefs" in facts.programs:
        return ok("mkcomposefs", facts.programs["mkcomposefs"] or "found")
    advice = (
        "build image stores with Nix, or install composefs (Debian forky, Fedora, nixpkgs) for `nixoci image-store`"
    )
    return warning("mkcomposefs", "not on PATH", advice)


def check_skopeo(facts: Facts) -> Finding:
    """Judge skopeo, which reads registries."""
    if "skopeo" in facts.programs:
        return ok("skopeo", facts.programs["skopeo"])
    return warning("skopeo", "not on PATH", "install skopeo to add and update images of registries")


def check_nix(facts: Facts) -> Finding:
    """Judge Nix, which builds images."""
    if "nix" not in facts.programs:
        return problem("nix", "not on PATH", f"install Nix {_text(NIX)} or newer")
    found = facts.version("nix")
    if found is not None and found < NIX:
        return problem("nix", f"{_text(found)}; nixoci needs {_text(NIX)} or newer", f"install Nix {_text(NIX)}")
    if found is None:
        return ok("nix", facts.programs["nix"])
    return ok("nix", _text(found) + _untested(found, TESTED_NIX))


def check_nix_store(facts: Facts) -> Iterator[Finding]:
    """Judge the way to Nix's store: a daemon may serve the members of a group only."""
    if not facts.nix_error:
        return
    if "Permission denied" in facts.nix_error:
        advice = (
            f"run `usermod --append --groups nix-users {facts.user}` as root, where Nix is Debian's, and log in again"
        )
    else:
        advice = "see `systemctl status nix-daemon.socket`; nothing is built or kept until this is mended"
    yield problem("nix store", facts.nix_error, advice)


def check_systemd(facts: Facts) -> Iterator[Finding]:
    """Judge systemd, which runs containers of the backend `systemd` by itself, as root only."""
    if facts.rootless:
        return
    if "systemctl" not in facts.programs:
        yield warning("systemd", "not on PATH", "without systemd, run images with podman; units are for systemd")
        return
    text = facts.programs["systemctl"]
    number = _SYSTEMD_VERSION.match(text)
    advice = f"use another backend, such as `bundle`, or install systemd {_text(SYSTEMD)}"
    if number is None:
        yield warning("systemd", _without_version("systemctl", text), advice)
        return
    found = (int(number[1]),)
    if found < SYSTEMD:
        needed = f"the backend `systemd` needs {_text(SYSTEMD)} or newer"
        yield warning("systemd", f"{_text(found)}; {needed}", advice)
    else:
        yield ok("systemd", _text(found) + _untested(found, TESTED_SYSTEMD))


def _without_version(program: str, text: str) -> str:
    return f"{text!r} has no version" if text else f"`{program} --version` fails"


def _plain_or_problem(check: str, found: str, facts: Facts, advice: str) -> Finding:
    """Return a warning if no image store in use has EROFS files, and otherwise a problem."""
    if facts.image_stores and not facts.rootless and not any(store.erofs for store in facts.image_stores):
        return warning(check, found, advice)
    return problem(check, found, f"{advice}, or use a store without owners and modes: `nixoci image-store --no-erofs`")


def _untested(found: tuple[int, ...], tested: tuple[int, ...]) -> str:
    return f"; untried: nixoci is tested with {_text(tested)}" if found < tested else ""


def _text(version: tuple[int, ...]) -> str:
    return ".".join(str(number) for number in version)
