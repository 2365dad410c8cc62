"""Logins to private binary caches: of the address itself, or of a netrc file, as Nix lets curl find them (netrc(5))."""

from netrc import NetrcParseError, netrc
from pathlib import Path
from urllib.parse import SplitResult, unquote

from nixoci.errors import StoreError

NETRC = Path("/etc/nix/netrc")
"""The file that Nix reads unless nix.conf's `netrc-file` names another."""


def login_for(address: SplitResult, file: Path | None) -> str | None:
    """Return `USER:PASSWORD` for a cache, None without a login; no error has a part of it.

    Args:
        address: The cache; what it says itself has precedence.
        file: A netrc file; None for `NETRC`, if that can be read.

    Raises:
        StoreError: The file cannot be read.
    """
    user = None if address.username is None else unquote(address.username)
    if user is not None and address.password is not None:
        return f"{user}:{unquote(address.password)}"
    try:
        logins = netrc(file or NETRC)
    except NetrcParseError as error:  # its message may have the password
        raise StoreError(f"{file or NETRC}: line {error.lineno} is not of a netrc file; see netrc(5)") from None
    except UnicodeDecodeError as error:
        raise StoreError(f"{file or NETRC}: not UTF-8, as a netrc file is") from error
    except OSError as error:
        if file is not None:
            raise StoreError(
                f"{file}: cannot be read: {error.strerror}; check its path, and that this user may read it"
            ) from error
        return None
    found = logins.authenticators(address.hostname or "")
    if found is None or user not in {None, found[0]}:
        return None if user is None else f"{user}:"
    return f"{found[0]}:{found[2]}"
