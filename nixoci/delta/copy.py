"""Copying closures to another machine: ask it once which paths it has, send one delta, receive it there."""

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from nixoci.delta.closure import Closure, closures_from_store, kept_paths
from nixoci.delta.effort import Effort
from nixoci.delta.pairing import package_name
from nixoci.delta.send import send_shown
from nixoci.delta.summary import SendSummary
from nixoci.errors import DeltaError, ProcessError
from nixoci.nix_store.commands import all_paths
from nixoci.nix_store.serve import serve
from nixoci.process import feed, run
from nixoci.streams import NullSink

_TARGET = re.compile(r"ssh://((?:[\w.+-]+@)?(?:[\w.-]+|\[[0-9a-fA-F:.]+\]))(?::([0-9]{1,5}))?/?")

_WAYS_OUT = (
    (
        "IDENTIFICATION HAS CHANGED",
        "if you know why its key is another one, remove the old one with `{forget}`, and log in once with `{ssh}`",
    ),
    ("Host key verification failed", "its key is not known here; log in once with `{ssh}` and accept it"),
    (r"Permission denied \(", "give another user, ssh://USER@HOST, or take your key there with `{copy_id}`"),
    ("Could not resolve hostname", "check the name, and that `{ssh}` reaches it"),
    (
        r"^ssh: connect to host|Connection (?:closed|reset|timed out)",
        "check the address and the port, and that `{ssh}` reaches it",
    ),
    (
        "nixoci: (?:command )?not found|[Cc]ommand(?: not found)?: '?nixoci",
        "install nixoci there, where `{ssh} nixoci` finds it",
    ),
    (
        "xargs: .*nix-store.*No such file|xargs: (?:command )?not found|[Cc]ommand(?: not found)?: '?xargs",
        "install Nix there, where `{ssh} nix-store` finds it",
    ),
)
"""What ssh or a shell there says, and the way out."""


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
    with ssh_failures(target):
        old = bases_there(ssh, new)
    if not old.paths:
        warn(f"{target}: has no older version of any path; whole paths are sent")
    with kept_paths(old, new):
        if dry_run:
            return send_shown(old, new, NullSink(), effort=effort)
        with ssh_failures(target), feed([*ssh, "nixoci receive"], package="openssh") as to:
            return send_shown(old, new, to, effort=effort, label=f"sending to {target}")


@contextmanager
def ssh_failures(target: str) -> Iterator[None]:
    """Let an error of ssh, or of the shell there, name the machine and a way out in place of the command."""
    try:
        yield
    except ProcessError as error:
        way_out = next((way for said, way in _WAYS_OUT if re.search(said, error.stderr, re.MULTILINE)), None)
        if way_out is None:
            raise
        ssh, *port, _, login = ssh_command(target)
        host = login.rpartition("@")[2]
        way_out = way_out.format(
            ssh=shlex.join([ssh, *port, login]),
            copy_id=shlex.join(["ssh-copy-id", *port, login]),
            forget=shlex.join(["ssh-keygen", "-R", f"[{host}]:{port[1]}" if port else host]),
        )
        said = error.stderr.strip().splitlines()[-1].strip().rstrip(".")
        raise ProcessError(f"{target}: {said}; {way_out}", stderr=error.stderr) from error


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
