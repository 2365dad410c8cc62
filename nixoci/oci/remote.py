"""Images in registries over HTTP, as builds read them: with no file in between, and mostly without a login.

A connection that breaks is resumed where it broke. Nothing here verifies what it reads: the reader of a blob does.
"""

import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, Self
from urllib.parse import urlencode, urlsplit

from urllib3.exceptions import HTTPError

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

_ABSENT = (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)
_BUSY = (
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)
"""The statuses after which a request is worth another try."""

_RETRIES = Retries()


class Remote:
    """The repository of one image in a registry, read by several threads."""

    def __init__(
        self,
        reference: Reference,
        *,
        certificates: Path | None = None,
        directory: Path | None = None,
        login: str | None = None,
        verify: bool = True,
        plain: bool = False,
        retries: Retries = _RETRIES,
    ) -> None:
        """Connect to nothing yet.

        Args:
            reference: The image; only its repository matters.
            certificates: A file of trusted certificates; by default those of OpenSSL (`SSL_CERT_FILE`).
            directory: The registry's directory of certificates (`certificate_directory`).
            login: The value of `Authorization` for a registry that asks for a login; None for no login.
            verify: Refuse a registry whose certificate is not trusted.
            plain: Speak plain HTTP with any registry, and not only with one on this machine.
            retries: Bounds of patience.
        """
        self.repository = reference.repository
        self.retries = retries
        self._host = _HOSTS.get(reference.domain, reference.domain)
        # as in Docker, a registry on this machine speaks plain HTTP, unless it has certificates
        local = _LOOPBACK.fullmatch(self._host) and directory is None
        self._scheme = "http" if plain or local else "https"
        self.base = f"{self._scheme}://{self._host}/v2/{reference.path}/"
        self._scope = f"repository:{reference.path}:pull"
        self._client = Client(certificates=certificates, directory=directory, verify=verify)
        self._login = login
        self._authorization: str | None = None
        self._lock = Lock()

    def open_manifest(self, digest: Digest, *, size: int | None = None) -> BinaryIO:
        """Open a manifest or an index, which is asked for at the first read."""
        return self._open(f"manifests/{digest}", {"Accept": ", ".join(sorted(_DOCUMENTS))}, size)

    def open_blob(self, digest: Digest, *, size: int | None = None, ahead: bool = False) -> BinaryIO:
        """Open any other blob, which is asked for at the first read, or now if `ahead` is set."""
        return self._open(f"blobs/{digest}", {}, size, ahead=ahead)

    def read_document(self, path: str, media_type: str) -> tuple[bytes, str] | None:
        """Return a document at a path of the repository, and its header `Link`; None if the registry has no such path.

        Raises:
            BlobError: The registry cannot be reached, wants another login, or answers with another error.
        """
        try:
            answer = self._ask(self.base + path, {"Accept": media_type})
            if answer.status != HTTPStatus.OK:
                answer.close()
                if answer.status in _ABSENT:
                    return None
                raise BlobError(f"{answer.host} answers {answer.said} for {path}")
            text = answer.read_document(MAX_DOCUMENT + 1)
            answer.close()
        except HTTPError as error:
            raise BlobError(f"{self._host}: {error}") from error
        if len(text) > MAX_DOCUMENT:
            raise BlobError(f"{self._host}: {path} has more than {MAX_DOCUMENT} bytes")
        return text, answer.header("Link")

    def _open(self, path: str, headers: Mapping[str, str], size: int | None, *, ahead: bool = False) -> BinaryIO:
        return download(partial(self._get, path, headers), size=size, retries=self.retries, ahead=ahead)

    def _get(self, path: str, headers: Mapping[str, str], more: Mapping[str, str]) -> Answer:
        """Ask for a path of the repository; the caller reads the answer's body and closes it.

        Raises:
            BlobError: The answer is an error.
            NoAnswerError: There is no answer.
            HTTPError: The connection broke.
        """
        answer = self._ask(self.base + path, {**headers, **more})
        if answer.status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
            answer.close()
            _refuse_busy(answer, path)
            raise BlobError(f"{answer.host} answers {answer.said} for {path}")
        return answer

    def _ask(self, url: str, headers: Mapping[str, str]) -> Answer:
        """Ask for an address, again with what the registry wants as `Authorization` if it wants something."""
        tried = self._authorization
        answer = self._client.get(url, headers, authorization=tried)
        if answer.status == HTTPStatus.UNAUTHORIZED and not answer.redirected:
            challenge = answer.header("WWW-Authenticate")
            answer.drop()
            answer = self._client.get(url, headers, authorization=self._authorize(challenge, tried))
        return answer

    def _authorize(self, header: str, refused: str | None) -> str:
        """Get what the registry's answer asks for: a token, or the login itself; another thread may have got it."""
        with self._lock:
            if self._authorization is not None and self._authorization != refused:
                return self._authorization
        challenge = bearer_challenge(header)
        if challenge is not None:
            authorization = f"Bearer {self._token(challenge)}"
        elif self._login is not None and self._login != refused:
            authorization = self._login
        else:
            raise BlobError(f"{self._host} wants a login")
        with self._lock:
            self._authorization = authorization
        return authorization

    def _token(self, challenge: Mapping[str, str]) -> str:
        """Get a token, for anybody or for the login, where the registry's answer says."""
        realm = parse_address(challenge["realm"])
        if realm is None or urlsplit(realm).scheme not in {"https", self._scheme}:
            raise BlobError(
                f"{self._host} gives tokens at {challenge['realm'][:100]!a}, which is no {self._scheme} address"
            )
        query = {"service": challenge.get("service", ""), "scope": challenge.get("scope") or self._scope}
        address = f"{realm}{'&' if urlsplit(realm).query else '?'}{urlencode(query)}"
        answer = self._client.get(address, {}, authorization=self._login)
        if answer.status != HTTPStatus.OK:
            answer.close()
            _refuse_busy(answer, "a token")
            whom = "anybody" if self._login is None else "this login"
            raise BlobError(f"{answer.host} gives no token to {whom}: {answer.said}")
        text = answer.read_document(MAX_DOCUMENT)
        answer.close()
        return _parse_token(text, what=f"token of {answer.host}")


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


def _parse_token(text: bytes, *, what: str) -> str:
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
