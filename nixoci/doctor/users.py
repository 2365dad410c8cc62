"""Checks for a rootless user."""

from collections.abc import Iterator

from nixoci.doctor.facts import Facts
from nixoci.doctor.finding import Finding, ok, problem, warning

IDS = 65536
"""Ids that images expect; podman maps them to the subordinate ids of the user (subuid(5))."""


def check_subordinate_ids(facts: Facts) -> Iterator[Finding]:
    """Judge the subordinate ids of a rootless user."""
    if not facts.rootless:
        return
    files = ("/etc/subuid", "/etc/subgid")
    for file, count, first in zip(files, facts.subordinate_ids, facts.free_ids, strict=True):
        kind = "uids" if file.endswith("uid") else "gids"
        add = f"usermod --add-sub{kind} {first}-{first + IDS - 1} {facts.user}"
        advice = f"run `{add}` as root, then `podman system migrate`"
        if count == 0:
            yield problem(file, f"has no ids for {facts.user}; files of an image then have one owner", advice)
        elif count < IDS:
            yield warning(file, f"has {count} ids for {facts.user}, images expect {IDS}", advice)
        else:
            yield ok(file, f"{count} ids for {facts.user}")


def check_id_tools(facts: Facts) -> Iterator[Finding]:
    """Look for the programs that map subordinate ids."""
    for program in ("newuidmap", "newgidmap") if facts.rootless else ():
        if program not in facts.programs:
            yield problem(program, "not on PATH", "install it (package uidmap of Debian, shadow-utils of Fedora)")
