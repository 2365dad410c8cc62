"""Certificates to trust, and those for one registry: the directories of podman and Docker (containers-certs.d(5))."""

import os
import ssl
from pathlib import Path

from nixoci.errors import BlobError
from nixoci.oci.reference import Reference
from nixoci.user import home_directory

_PLACES = (Path("/etc/containers/certs.d"), Path("/etc/docker/certs.d"))
_OF_USER = ".config/containers/certs.d"


def trusting_context(certificates: Path | None = None) -> ssl.SSLContext:
    """Return a context for connections to servers that skopeo and Nix would trust.

    Args:
        certificates: A file of certificates to trust; by default those of OpenSSL (`SSL_CERT_FILE`).

    Raises:
        OSError: The file cannot be read, or has no certificates.
    """
    context = ssl.create_default_context(cafile=certificates)
    # From 3.13 on, Python refuses authorities without a key usage, which `openssl req -x509` makes.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def certificate_directory(reference: Reference) -> Path | None:
    """Return the directory of the registry of an image, the user's own before those of the system; None without one."""
    home = home_directory()
    places = _PLACES if home is None else (home / _OF_USER, *_PLACES)
    candidates = (place / reference.domain for place in places)
    # Path.is_dir fails below a directory that may not be searched
    return next((each for each in candidates if os.path.isdir(each)), None)  # noqa: PTH112


def trust_directory(context: ssl.SSLContext, directory: Path) -> None:
    """Let connections trust the authorities in a directory, and show its client certificate.

    Args:
        context: The context of the connections.
        directory: Has `NAME.crt` for an authority, `NAME.cert` for a client certificate and `NAME.key` for its key.

    Raises:
        BlobError: A file cannot be read, is none of that, or lacks its key.
    """
    file = directory
    try:
        for file in sorted(directory.iterdir()):
            if file.suffix == ".crt":
                context.load_verify_locations(file)
            elif file.suffix == ".cert":
                # without a password, OpenSSL would ask the user for that of an encrypted key
                context.load_cert_chain(file, file.with_suffix(".key"), password="")
    except OSError as error:  # ssl.SSLError is one
        raise BlobError(f"{file}: cannot be used: {error.strerror or error}") from error
