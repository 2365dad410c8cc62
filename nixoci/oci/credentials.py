"""Logins for registries, from the files that `podman login` and `docker login` write (containers-auth.json(5)).

skopeo reads them itself; this is for requests that skopeo cannot make.
"""

import base64
import binascii
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nixoci.document import load
from nixoci.errors import DocumentError, ProcessError
from nixoci.oci.reference import Reference
from nixoci.process import run

_HUB = "docker.io"
_HUB_KEY = "https://index.docker.io/v1/"
_HELPER = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]*")


def basic_login(reference: Reference, *, authfile: Path | None = None) -> str | None:
    """Return the user's login for a repository as `Basic <base64>`, the value of a header; None if there is none.

    Args:
        reference: An image in the repository.
        authfile: The only file to read; by default those of podman and Docker.

    Raises:
        DocumentError: A file is not JSON.
        ProcessError: A credential helper is missing or fails.
    """
    for file in [authfile] if authfile is not None else _files():
        try:
            value = load(file.read_bytes(), what=str(file))
        except OSError:
            continue
        login = _login(value, reference)
        if login is not None:
            return login
    return None


def _files() -> Iterator[Path]:
    named = os.environ.get("REGISTRY_AUTH_FILE")
    if named:
        yield Path(named)
        return
    session = os.environ.get("XDG_RUNTIME_DIR")
    yield Path(session, "containers/auth.json") if session else Path(f"/run/containers/{os.geteuid()}/auth.json")
    home = Path(os.environ.get("HOME") or "/")
    yield Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "containers/auth.json"
    yield Path(os.environ.get("DOCKER_CONFIG") or home / ".docker") / "config.json"


def _login(value: Any, reference: Reference) -> str | None:
    """Return the login in one file: the entry of the longest prefix of the repository."""
    if not isinstance(value, dict):
        return None
    names = list(_keys(reference))
    auths, helpers = value.get("auths"), value.get("credHelpers")
    for name in names:
        entry = auths.get(name) if isinstance(auths, dict) else None
        text = entry.get("auth") if isinstance(entry, dict) else None
        if isinstance(text, str) and _is_login(text):
            return f"Basic {text}"
        helper = helpers.get(name) if isinstance(helpers, dict) else None
        if isinstance(helper, str) and _HELPER.fullmatch(helper):
            return _ask(helper, name)
    return None


def _keys(reference: Reference) -> Iterator[str]:
    parts = reference.repository.split("/")
    for count in range(len(parts), 0, -1):
        yield "/".join(parts[:count])
    if reference.domain == _HUB:
        yield _HUB_KEY


def _is_login(text: str) -> bool:
    try:
        return b":" in base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False


def _ask(helper: str, name: str) -> str | None:
    """Ask a credential helper (docker/docker-credential-helpers) for a login."""
    program = f"docker-credential-{helper}"
    try:
        said = load(run([program, "get"], stdin=name.encode(), package=program), what=program)
    except ProcessError as error:
        # helpers write to standard output what is wrong, as docker/docker-credential-helpers does
        said = error.stdout.strip()
        if "credentials not found" in said or "credentials not found" in error.stderr:
            return None
        if said:
            raise ProcessError(f"{error}: {said}" if error.stderr.strip() else f"{program}: {said}") from error
        raise
    match said:
        case {"Username": str(user), "Secret": str(secret)} if user != "<token>":
            return f"Basic {base64.b64encode(f'{user}:{secret}'.encode()).decode()}"
        case {"Username": str()}:
            return None  # an identity token, which only its own endpoint takes
    raise DocumentError(f"{program}: its answer has no Username and Secret; check its configuration")
