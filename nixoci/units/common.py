"""What the units of all backends have in common: order, time limits, secrets, installation."""

import shlex
from pathlib import Path

from nixoci.container.resolve import Resolved
from nixoci.errors import ContainerError
from nixoci.units.text import UnitFile, UnitText, command, literal, raw, word
from nixoci.units.tools import Tools

_SECOND = 10**9
STOP_GRACE = 30
"""Seconds that a runtime needs to stop what has ended."""
_START_GRACE = 60
_READ_BY_OTHERS = 0o004

USER_PATH = "/run/wrappers/bin:/run/current-system/sw/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are on NixOS and elsewhere: rootless podman runs newuidmap, and its image store's mount program
others. A user's systemd on NixOS does not look among the wrappers, which alone are setuid."""


def add_order(unit: UnitFile, resolved: Resolved) -> None:
    """Add the description, the image (a changed image is a changed unit) and what must be ready before."""
    unit.add("Unit", "Description", literal(f"Container {resolved.name}"))
    unit.add("Unit", "X-Image", raw(resolved.option("image"), str(resolved.tree.image.path)))
    for other in sorted(resolved.container.depends_on):
        unit.add("Unit", "Requires", literal(f"{other}.service"))
        unit.add("Unit", "After", literal(f"{other}.service"))


def add_path(unit: UnitFile, *, user: bool) -> None:
    """Have podman find what it needs for a user; a PATH of `settings.unit` comes later and wins."""
    if user:
        unit.add("Service", "Environment", word(f"PATH={USER_PATH}"))


def add_install(unit: UnitFile, resolved: Resolved, *, user: bool) -> None:
    """Add `[Install]` for a container that starts by itself."""
    if resolved.container.auto_start:
        unit.add("Install", "WantedBy", literal(default_target(user=user)))


def default_target(*, user: bool) -> str:
    """Return what starts with the machine, or with a user's session."""
    return "default.target" if user else "multi-user.target"


def stop_timeout(resolved: Resolved) -> UnitText:
    """Return the time that stopping takes at most: the container's, and what its runtime needs on top."""
    return literal(f"{resolved.container.stop_timeout + STOP_GRACE}s")


def start_timeout(resolved: Resolved) -> UnitText:
    """Return the time after which a container that has to become healthy will not."""
    if (health := resolved.health) is None:
        return literal(f"{_START_GRACE}s")
    checks = (health.retries + 1) * (health.interval + health.timeout)
    return literal(f"{-(-(health.start_period + checks) // _SECOND) + _START_GRACE}s")


def runtime_directory(name: str) -> str:
    """Return the directory of a running container, below `%t` of systemd's and of systemd-tmpfiles's."""
    return f"nixoci/{name}"


def secret_source(resolved: Resolved, secret: str, *, user: bool) -> UnitText:
    """Return where the unit puts a secret, for the left side of a mount.

    Raises:
        ContainerError: The container's user could not read it.
    """
    mode = int(resolved.container.secrets[secret].mode, 8)
    if user and resolved.user.uid and not mode & _READ_BY_OTHERS:
        raise ContainerError(
            f"{resolved.option(f'secrets.{secret}.mode')}: in a user's unit the file is that of root inside, which"
            f" user {resolved.user.uid} cannot read; say 0444"
        )
    return literal(f"%t/{runtime_directory(resolved.name)}/secrets/{secret}")


def add_secrets(unit: UnitFile, resolved: Resolved) -> None:
    """Let systemd load the secrets."""
    for name, secret in resolved.container.secrets.items():
        option = resolved.option(f"secrets.{name}.source")
        unit.add("Service", "LoadCredential", literal(f"{name}:{raw(option, secret.source)}"))


def secret_lines(resolved: Resolved, *, user: bool) -> list[str]:
    """Return the lines of tmpfiles.d(5) that make the secrets' files from what systemd loaded."""
    if not resolved.container.secrets:
        return []
    folder = f"%t/{runtime_directory(resolved.name)}/secrets"
    owner = "- -" if user else f"{resolved.user.uid} {resolved.user.gid}"
    return [
        f"d {folder} 0700 - - -",
        *(
            f"f^ {folder}/{name} {int(secret.mode, 8):04o} {owner} - {name}"
            for name, secret in resolved.container.secrets.items()
        ),
    ]


def tmpfiles_file(share: Path, name: str) -> Path:
    """Return the file of tmpfiles.d(5) called `name`; it is not read at boot, but by the unit."""
    return share / "tmpfiles" / f"{name}.conf"


def make_secrets(tools: Tools, lines: list[str], *, user: bool) -> UnitText:
    """Return the command that makes what the lines of tmpfiles.d(5) say.

    It holds the lines themselves, and no file of the output that the unit is in: a unit that names that would change
    whenever anything of the deployment does, and be restarted.
    """
    make = [tools.systemd_tmpfiles, *(["--user"] if user else []), "--create", "-"]
    script = f"printf '%s\\n' \"$@\" | {shlex.join(make)}"
    return command([tools.sh, "-c", script, "secrets", *lines])
