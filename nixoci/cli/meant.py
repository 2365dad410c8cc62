"""The command that somebody means by a word that is no verb: one that another tool has for it, or one with a slip."""

from collections.abc import Iterable
from difflib import get_close_matches

OTHER_WORDS = {
    "apply": "nixoci switch",
    "build": "nixoci generate",
    "check": "nixoci verify",
    "compose": "nixoci import",
    "delete": "nixoci remove",
    "deploy": "nixoci switch",
    "fetch": "nixoci prefetch",
    "gc": "nixoci gc-roots",
    "images": "nixoci list",
    "info": "nixoci show",
    "init": "nixoci add",
    "inspect": "nixoci show",
    "install": "nixoci switch",
    "lock": "nixoci add",
    "ls": "nixoci list",
    "pin": "nixoci add",
    "pull": "nixoci prefetch",
    "push": "nixoci delta push",
    "rm": "nixoci remove",
    "rmi": "nixoci remove",
    "rollback": "nixoci switch --rollback",
    "run": "podman run",
    "serve": "nixoci substituter",
    "status": "nixoci doctor",
    "uninstall": "nixoci switch --uninstall",
    "unpack": "nixoci extract",
    "upgrade": "nixoci update",
    "version": "nixoci --version",
}
"""Commands by the verbs that podman, Docker, Nix and package managers have for the like."""


def meant_command(word: str, verbs: Iterable[str]) -> str | None:
    """Return the command line that is meant by a word, or None.

    >>> meant_command("rm", ["remove"]), meant_command("updaet", ["update"]), meant_command("conjure", ["update"])
    ('nixoci remove', 'nixoci update', None)
    """
    if word in OTHER_WORDS:
        return OTHER_WORDS[word]
    close = get_close_matches(word, list(verbs), n=1)
    return f"nixoci {close[0]}" if close else None
