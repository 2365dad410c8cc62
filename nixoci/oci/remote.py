"""Images in registries over HTTP, as builds read them: without a login, and with no file in between.

A connection that breaks is resumed where it broke. Nothing here verifies what it reads: the reader of a blob does.
"""

import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, Self
from urllib.parse import urlencode, urlsplit

from nixoci.document import load
from nixoci.errors import BlobError, DocumentError
from nixoci.oci.challenge import bearer_challenge
from nixoci.oci.digest import Digest
from nixoci.oci.download import Retries, download
from nixoci.oci.http_client import Answer, Client, NoAnswerError, parse_address
from nixoci.oci.media_types import INDEX_TYPES, MANIFEST_TYPES
from nixoci.oci.model import Descriptor
from nixoci.oci.reference import Reference
from nixoci.oci.resolve import document_type
from nixoci.oci.verify import MAX_DOCUMENT

_HUB = "docker.io"
_HOSTS = {_HUB: "registry-1.docker.io"}
_LOOPBACK = re.compile(r"(localhost|127\.[0-9.]+|\[::1\])(:[0-9]+)?")
_TOKEN = re.compile(r"[!-~]+")

_DOCUMENTS = INDEX_TYPES | MANIFEST_TYPES

_OK, _PARTIAL, _UNAUTHORIZED = 200, 206, 401
_BUSY = (429, 500, 502, 503, 504)

_RETRIES = Retries()


class Remote:
    """The repository of one image in a registry, read by several threads."""

    def __init__(self, reference: Reference, *, certificates: Path | None = None, retries: Retries = _RETRIES) -> None:
        """Connect to nothing yet.

        Args:
            reference: The image; only its repository matters.
            certificates: A file of trusted certificates; by default those of OpenSSL (`SSL_CERT_FILE`).
            retries: Bounds of patience.
        """
        self.repository = reference.repository
        self.retries = retries
        self._host = _HOSTS.get(reference.domain, reference.domain)
        # as in Docker, a registry on this machine speaks plain HTTP
        self._scheme = "http" if _LOOPBACK.fullmatch(self._host) else "https"
        self.base = f"{self._scheme}://{self._host}/v2/{reference.path}/"
        self._scope = f"repository:{reference.path}:pull"
        self._client = Client(certificates=certificates)
        self._token: str | None = None
        self._lock = Lock()

    def open_manifest(self, digest: Digest, *, size: int | None = None) -> BinaryIO:
        """Open a manifest or an index, which is asked for at the first read."""
        return self._open(f"manifests/{digest}", {"Accept": ", ".join(sorted(_DOCUMENTS))}, size)

    def open_blob(self, digest: Digest, *, size: int | None = None, ahead: bool = False) -> BinaryIO:
        """Open any other blob, which is asked for at the first read, or now if `ahead` is set."""
        return self._open(f"blobs/{digest}", {}, size, ahead=ahead)

    def _open(self, path: str, headers: Mapping[str, str], size: int | None, *, ahead: bool = False) -> BinaryIO:
        return download(partial(self._get, path, headers), size=size, retries=self.retries, ahead=ahead)

    def _get(self, path: str, headers: Mapping[str, str], more: Mapping[str, str]) -> Answer:
        """Ask for a path of the repository; the caller reads the answer's body and closes it.

        Raises:
            BlobError: The answer is an error.
            NoAnswerError: There is no answer.
            HTTPError: The connection broke.
        """
        url, headers = self.base + path, {**headers, **more}
        token = self._token
        answer = self._client.get(url, headers, token=token)
        if answer.status == _UNAUTHORIZED and not answer.redirected:
            challenge = answer.header("WWW-Authenticate")
            answer.drop()
            answer = self._client.get(url, headers, token=self._log_in(challenge, token))
        if answer.status not in {_OK, _PARTIAL}:
            answer.close()
            _refuse_busy(answer, path)
            raise BlobError(f"{answer.host} answers {answer.said} for {path}")
        return answer

    def _log_in(self, header: str, refused: str | None) -> str:
        """Get a token for anybody, as the registry's answer says; another thread may have got it meanwhile."""
        with self._lock:
            if self._token is not None and self._token != refused:
                return self._token
        challenge = bearer_challenge(header)
        if challenge is None:
            raise BlobError(f"{self._host} wants a login")
        realm = parse_address(challenge["realm"])
        if realm is None or urlsplit(realm).scheme not in {"https", self._scheme}:
            raise BlobError(
                f"{self._host} gives tokens at {challenge['realm'][:100]!a}, which is no {self._scheme} address"
            )
        query = {"service": challenge.get("service", ""), "scope": challenge.get("scope") or self._scope}
        answer = self._client.get(f"{realm}{'&' if urlsplit(realm).query else '?'}{urlencode(query)}", {})
        if answer.status != _OK:
            answer.close()
            _refuse_busy(answer, "a token")
            raise BlobError(f"{answer.host} gives no token to anybody: {answer.said}")
        text = answer.read_document(MAX_DOCUMENT)
        answer.close()
        token = _token(text, what=f"token of {answer.host}")
        with self._lock:
            self._token = token
        return token


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteImage:
    """An image in a registry, with its layers."""

    name: str
    root: Descriptor
    _remote: Remote

    @classmethod
    def open(cls, remote: Remote, digest: Digest) -> Self:
        """Ask for the manifest or index of this digest.

        Raises:
            BlobError: The registry cannot be reached, wants a login, or does not have it.
            ImageError: Neither a manifest nor an index.
        """
        with remote.open_manifest(digest) as file:
            text = file.read(MAX_DOCUMENT + 1)
        name = f"{remote.repository}@{digest}"
        root = Descriptor(media_type=document_type(text, what=name), digest=digest, size=len(text))
        return cls(name=name, root=root, _remote=remote)

    def open_blob(self, descriptor: Descriptor) -> BinaryIO:
        """Open a blob; it is asked for at the first read."""
        if descriptor.media_type in _DOCUMENTS:
            return self._remote.open_manifest(descriptor.digest, size=descriptor.size)
        return self._remote.open_blob(descriptor.digest, size=descriptor.size)


class RemoteLayers:
    """The layers of an image in a registry, read in their order: while one is read, the next one is asked for.

    So a layer does not wait for the answers of a registry and of the server that it redirects to. One answer waits at a
    time, in its connection.
    """

    def __init__(self, remote: Remote, layers: Iterable[Descriptor]) -> None:
        self._remote = remote
        self._left = deque(layers)
        self._next: BinaryIO | None = None

    def open_blob(self, descriptor: Descriptor) -> BinaryIO:
        """Open a layer; they are opened in their order, each once.

        Raises:
            BlobError: It is not the one that follows.
        """
        if not self._left or self._left[0] != descriptor:
            raise BlobError(f"layer {descriptor.digest}: not the one that follows in the image")
        stream = self._next or self._open(ahead=False)
        self._left.popleft()
        self._next = self._open(ahead=True) if self._left else None
        return stream

    def close(self) -> None:
        """Close the layer that was asked for and not opened."""
        if self._next is not None:
            self._next.close()
            self._next = None

    def _open(self, *, ahead: bool) -> BinaryIO:
        return self._remote.open_blob(self._left[0].digest, size=self._left[0].size, ahead=ahead)


def _refuse_busy(answer: Answer, what: str) -> None:
    if answer.status in _BUSY:
        raise NoAnswerError(f"{answer.host} answers {answer.said} for {what}", pause=answer.pause)


def _token(text: bytes, *, what: str) -> str:
    """Return the token of a server's answer (distribution, `docs/spec/auth/token.md`).

    Raises:
        BlobError: There is none, or it has characters that no header may have.
    """
    try:
        value: Any = load(text, what=what)
    except DocumentError as error:
        raise BlobError(str(error)) from error
    given = [value.get(key) for key in ("token", "access_token")] if isinstance(value, dict) else []
    token = next((each for each in given if isinstance(each, str) and each), None)
    if token is None:
        raise BlobError(f"{what}: the answer has none")
    if not _TOKEN.fullmatch(token):
        raise BlobError(f"{what}: it has characters that a token cannot have")
    return token
