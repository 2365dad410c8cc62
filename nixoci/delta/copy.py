"""Copying closures to another machine: ask it once which paths it has, send one delta, receive it there."""

import re
from collections.abc import Callable, Sequence

from nixoci.delta.closure import Closure, closures_from_store, kept_paths
from nixoci.delta.effort import Effort
from nixoci.delta.pairing import package_name
from nixoci.delta.send import send_shown
from nixoci.delta.summary import SendSummary
from nixoci.errors import DeltaError
from nixoci.nix_store.commands import all_paths
from nixoci.nix_store.serve import serve
from nixoci.process import feed, run
from nixoci.streams import NullSink

_TARGET = re.compile(r"ssh://((?:[\w.+-]+@)?(?:[\w.-]+|\[[0-9a-fA-F:.]+\]))(?::([0-9]{1,5}))?/?")


def copy_closures(
    target: str,
    paths: Sequence[str],
    *,
    effort: Effort = Effort.DEFAULT,
    dry_run: bool = False,
    warn: Callable[[str], None],
) -> SendSummary:
    """Copy closures to the machine `ssh://[USER@]HOST[:PORT]`, which has nixoci and Nix.

    Candidates for bases are the closures themselves and the valid paths here of the same package names. A path without
    a base travels whole; if no path has one, `warn` is called. With `dry_run`, the delta is made for its summary and
    not sent.

    Raises:
        DeltaError: The target is not of that form.
        ProcessError: ssh or a program on the other machine fails.
    """
    ssh = ssh_command(target)
    (new,) = closures_from_store(paths)
    old = bases_there(ssh, new)
    if not old.paths:
        warn(f"{target}: has no older version of any path; whole paths are sent")
    with kept_paths(old, new):
        if dry_run:
            return send_shown(old, new, NullSink(), effort=effort)
        with feed([*ssh, "nixoci receive"], package="openssh") as to:
            return send_shown(old, new, to, effort=effort, label=f"sending to {target}")


def ssh_command(target: str) -> list[str]:
    """Return the argv, without the remote command, that reaches `ssh://[USER@]HOST[:PORT]`.

    Raises:
        DeltaError: The target is not of that form.
    """
    match = _TARGET.fullmatch(target)
    if match is None or match[1].startswith("-"):
        raise DeltaError(f"{target}: not a machine to copy to; give ssh://HOST or ssh://USER@HOST:PORT")
    port = ["-p", match[2]] if match[2] else []
    return ["ssh", *port, "--", match[1].replace("[", "").replace("]", "")]


def bases_there(ssh: list[str], new: Closure) -> Closure:
    """Ask the other machine once which candidates it has, and return those."""
    names = {package_name(path) for path in new.paths}
    candidates = {path for path in all_paths(store=None) if package_name(path) in names} | new.paths.keys()
    question = "".join(f"{path}\n" for path in sorted(candidates)).encode()
    answer = run([*ssh, "xargs nix-store --check-validity --print-invalid"], stdin=question, package="openssh")
    there = candidates - set(answer.decode().split())
    with serve(store=None) as nix:
        return Closure(roots=(), paths=nix.path_infos(there))
