"""Registries, read through skopeo, so that the user's auth file, registries.conf and policy.json apply as for podman.

Only manifests and configs are read: resolving an image costs kilobytes, whatever the size of its layers.
"""

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Self

from nixoci.document import load
from nixoci.errors import BlobError, DocumentError, ImageError, ProcessError
from nixoci.oci.digest import Digest
from nixoci.oci.image import Image
from nixoci.oci.media_types import CONFIG_TYPES, INDEX_TYPES, MANIFEST_TYPES
from nixoci.oci.model import Descriptor
from nixoci.oci.policy import may_reject
from nixoci.oci.reference import Reference
from nixoci.oci.resolve import document_type
from nixoci.output import ANOTHER_TMPDIR, scratch_directory
from nixoci.process import FileSizeError, run

SKOPEO = "skopeo"
_RETRIES = "--retry-times=2"
_SPARE = 64 << 20
"""Bytes that skopeo's own files may have: its cache of blobs' places grows with the images that it has seen."""
_MOST = (1 << 63) - 1
"""Bytes of the largest file of all."""
_FATAL = re.compile(r'level=(?:fatal|warning) msg="(?:Failed, retrying in .{1,99} Error: )?((?:[^"\\]|\\.)*)"')
"""Matches the failure of skopeo, or of its first attempt of several."""
_LIMITED = re.compile(r"toomanyrequests|[Tt]oo many requests|StatusCode: 429")
"""Matches skopeo's words for a registry that limits requests; skopeo has waited then, as long as `Retry-After` says."""
_ESCAPED = {"n": "; ", "t": " "}
"""Characters that skopeo escapes by a letter, and what stands for them in a line."""
_GIVE_UP = re.compile(rb"level=warning msg=.*retrying in .*(?:%s)" % _LIMITED.pattern.encode())
"""Matches what skopeo writes before it waits as long as that again, and then again."""
_LOG_IN = "log in with `skopeo login {domain}`"
_ANSWERS = "check that a registry answers at {domain}, and no proxy or login page in its place"
_UNREACHABLE = re.compile("dial tcp|no such host|network is unreachable|i/o timeout")
_WAYS_OUT = (
    (re.compile("no space left on device"), f"free some space, or {ANOTHER_TMPDIR}"),
    (re.compile("StatusCode: 407|Proxy Authentication Required"), "write USER:PASSWORD@ into the address of the proxy"),
    (_UNREACHABLE, "check the network and its proxy"),
    (
        re.compile("x509: certificate has expired or is not yet valid"),
        "the registry has to renew its certificate, unless the clock of this machine is wrong",
    ),
    (
        re.compile("x509: certificate (?:is valid for|is not valid for any|relies on)|x509: cannot validate"),
        "name the registry as its certificate does, or give it a certificate for {domain}",
    ),
    (re.compile("x509: "), "put the certificate of its authority into /etc/containers/certs.d/{domain}/ca.crt"),
    (
        re.compile("remote error: tls: (?:certificate|bad certificate|unknown certificate)"),
        (
            "it wants a client certificate that it knows: put it and its key into /etc/containers/certs.d/{domain}, as"
            " client.cert and client.key"
        ),
    ),
    (
        re.compile(
            "missing (?:key|client certificate) .* for|tls: private key|tls: failed to (?:find|parse)"
            "|certs.d/.*permission denied"
        ),
        (
            "a client certificate is a file NAME.cert with its key NAME.key, both readable for you, in"
            " /etc/containers/certs.d/{domain}; see containers-certs.d(5)"
        ),
    ),
    (
        re.compile("server gave HTTP response to HTTPS client"),
        "it speaks plain HTTP: use --no-tls-verify, or set `insecure = true` for it in registries.conf",
    ),
    # skopeo tries HTTP after HTTPS where no certificate is required, and tells the failure of HTTP alone
    (
        re.compile(r'Get "?http://[^/\s]*/v2/|HTTP request (?:was sent )?to (?:an )?HTTPS|plain HTTP to an SSL'),
        (
            "it takes no plain HTTP, and skopeo does not say why HTTPS failed, as for a missing client certificate: run"
            " again with --tls-verify, which shows that"
        ),
    ),
    (re.compile(r"is blocked in .*registries\.conf"), "name another registry, or remove `blocked` there"),
    (
        re.compile("(?:loading registries|trust policy).*permission denied"),
        "make that file readable for you, and the directories above it",
    ),
    (
        re.compile("trust policy|rejected by policy|Source image rejected"),
        "policy.json decides this, see containers-policy.json(5)",
    ),
    (re.compile("loading registries"), "mend that file, see containers-registries.conf(5)"),
    (
        re.compile("docker-credential-|error getting credentials"),
        f"install or mend this credential helper, or remove it from the auth file and {_LOG_IN}",
    ),
    (
        re.compile("reading JSON file.*permission denied"),
        "make the auth file readable for you, and the directories above it, or name another with --authfile",
    ),
    (re.compile("reading JSON file.*is a directory"), "name a file with --authfile, or in REGISTRY_AUTH_FILE"),
    (re.compile("reading JSON file"), "mend the auth file, or name another with --authfile"),
    (
        re.compile("getting username and password"),
        "mend the auth file, or the credential helper that it names, or name another file with --authfile",
    ),
    (
        re.compile("invalid reference format"),
        "skopeo and podman read no IPv6 address there: give the host a name, for example in /etc/hosts",
    ),
    (_LIMITED, f"the registry limits requests, and skopeo has waited for it in vain: run again later, or {_LOG_IN}"),
    (
        re.compile(r"unexpected HTTP status: 5[0-9][0-9]|StatusCode: 5[0-9][0-9]"),
        "the registry fails: run again later",
    ),
    (
        re.compile(
            r"\bEOF\b|malformed HTTP|connection reset|stopped after 10 redirects|unsupported protocol scheme"
            r"|invalid character .* looking for|StatusCode: (?!40[134])[0-9]"
        ),
        _ANSWERS,
    ),
)
"""What skopeo says of troubles that another name does not end, and what to do."""

_MIRRORS = re.compile(r"\(Mirrors also failed: \[(([^/\s]+)/.*)\]\): (.*)", re.DOTALL)
"""Matches what skopeo says if all mirrors fail: their failures, the first one's domain, and that of the registry."""

_NO_CAUSE = re.compile(r'^Error parsing image name "[^"]*": ')
"""Matches the words with which skopeo starts whatever the cause is."""

_UNKNOWN = re.compile(
    r"manifest unknown|name unknown|(?:manifest|repository) not found|StatusCode: 404|tag .* not found"
)
"""Matches skopeo's words for a tag that is not there, as registries word it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryAccess:
    """Access to registries that differs from the user's own files.

    `authfile` replaces the user's auth file. `tls_verify` is False for plain HTTP or a self-signed certificate; None
    leaves it to registries.conf.
    """

    authfile: Path | None = None
    tls_verify: bool | None = None

    def options(self, *, prefix: str = "") -> list[str]:
        """Return skopeo's options; `prefix` is `src-` or `dest-` for `skopeo copy`."""
        options = [f"--{prefix}authfile={self.authfile}"] if self.authfile is not None else []
        if self.tls_verify is not None:
            options.append(f"--{prefix}tls-verify={str(self.tls_verify).lower()}")
        return options


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """An image in a registry."""

    name: str
    root: Descriptor
    _reference: Reference
    _access: RegistryAccess
    _texts: dict[Digest, bytes] = field(default_factory=dict)
    _manifests: dict[Digest, Digest] = field(default_factory=dict)
    """The manifest of each config, because skopeo gives a config by its manifest only."""

    @classmethod
    def open(cls, reference: Reference, access: RegistryAccess) -> Self:
        """Ask a registry for the current manifest or index of a reference.

        Raises:
            ImageError: The registry cannot be reached, does not let the user in, or has no such image.
            ProcessError: skopeo is missing.
        """
        text = _inspect(reference, access)
        try:
            media_type = document_type(text, what=str(reference))
        except (DocumentError, ImageError) as error:
            raise ImageError(f"{error}; {_ANSWERS.format(domain=reference.domain)}") from error
        root = Descriptor(
            media_type=media_type,
            digest=_digest(text, reference),
            size=len(text),
        )
        opened = cls(name=str(reference), root=root, _reference=reference, _access=access)
        opened._cache(root.digest, text)
        return opened

    def open_blob(self, descriptor: Descriptor) -> BinaryIO:
        """Fetch a manifest or a config, never a layer."""
        digest = descriptor.digest
        if digest not in self._texts:
            if descriptor.media_type in INDEX_TYPES | MANIFEST_TYPES:
                self._cache(digest, _inspect(self._reference.at(digest), self._access))
            elif descriptor.media_type in CONFIG_TYPES and digest in self._manifests:
                manifest = self._reference.at(self._manifests[digest])
                self._texts[digest] = _inspect(manifest, self._access, config=True)
            else:
                raise BlobError(f"{self.name}: blob {digest} is a layer, which is not read from a registry here")
        return io.BytesIO(self._texts[digest])

    def check_policy(self, image: Image) -> None:
        """Check an image of this registry against the user's policy.json, which may require signatures.

        skopeo checks the policy only when it copies an image. So this copies the image to a layout that appears to have
        all its layers already.

        Raises:
            ImageError: The policy rejects the image.
        """
        if not may_reject():
            return
        with scratch_directory("policy") as folder:
            for layer in image.layers:
                digest = layer.descriptor.digest
                placeholder = folder / "blobs" / digest.algorithm / digest.hex
                placeholder.parent.mkdir(parents=True, exist_ok=True)
                placeholder.touch()
            at = self._reference.at(image.manifest.descriptor.digest)
            copy_layers(at, self._access, folder, [image.config.descriptor])

    def _cache(self, digest: Digest, text: bytes) -> None:
        """Store the text of a manifest or index, and the config that it names."""
        self._texts[digest] = text
        match load(text, what=f"{self.name}: manifest {digest}"):
            case {"config": {"digest": str(config)}}:
                self._manifests[Digest.parse(config)] = digest


def read_tagged(reference: Reference, access: RegistryAccess) -> bytes | None:
    """Return the manifest or index that a tag names; None if the repository has no such tag.

    Errors are those of `Registry.open`.
    """
    try:
        return _inspect(reference, access)
    except ImageError as error:
        if _UNKNOWN.search(str(error)):
            return None
        raise


def list_tags(reference: Reference, access: RegistryAccess) -> list[str]:
    """Return the tags of a reference's repository, in the registry's order; errors as for `Registry.open`."""
    text = _skopeo(reference, ["list-tags", _RETRIES, *access.options(), f"docker://{reference.repository}"])
    match load(text, what=f"{reference.repository}: tags"):
        case {"Tags": [*tags]}:
            return [tag for tag in tags if isinstance(tag, str)]
    raise ImageError(f"{reference.repository}: skopeo list-tags did not print a list of tags")


def copy_layers(reference: Reference, access: RegistryAccess, layout: Path, blobs: Iterable[Descriptor]) -> None:
    """Copy an image's blobs unchanged to an OCI layout; blobs that the layout has already are not fetched.

    The manifest in the layout may differ from the registry's. The user's policy.json applies.

    Args:
        reference: The image.
        access: How to reach the registry.
        layout: The folder of the layout.
        blobs: What the image has, for the size of the largest.

    Raises:
        ImageError: The registry cannot be reached or refuses, or sends more than a blob has, or the policy rejects the
            image.
    """
    # a layout cannot hold signatures; skopeo checks them before it removes them
    flags = ["--quiet", "--remove-signatures", "--dest-oci-accept-uncompressed-layers", _RETRIES]
    source = [*access.options(prefix="src-"), f"docker://{reference.exact}"]
    _fetch(reference, ["copy", *flags, *source, f"oci:{layout}:{reference.short_name}"], blobs)


def push_artifact(layout: Path, tag: str, reference: Reference, access: RegistryAccess) -> None:
    """Copy an artifact, or an index without the manifests that it lists, from a layout to a repository as it is.

    Args:
        layout: An OCI layout.
        tag: The tag of the artifact there.
        reference: Where it goes: the digest that it has, or a tag.
        access: How to reach the registry.

    Raises:
        ImageError: The registry cannot be reached, or does not let the user write.
    """
    # the artifact is this user's own, and no image for policy.json to judge
    command = ["--insecure-policy", "copy", "--quiet", "--preserve-digests", "--multi-arch=index-only", _RETRIES]
    _skopeo(
        reference, [*command, *access.options(prefix="dest-"), f"oci:{layout}:{tag}", f"docker://{reference.exact}"]
    )


def fetch_artifact(reference: Reference, access: RegistryAccess, layout: Path, blobs: Iterable[Descriptor]) -> None:
    """Copy an artifact as it is to an OCI layout; skopeo checks the digests of what it copies.

    An artifact is no image, so policy.json does not judge it: trust nothing that it says.

    Args:
        reference: The artifact.
        access: How to reach the registry.
        layout: The folder of the layout.
        blobs: What its manifest lists, for the size of the largest.

    Raises:
        ImageError: The registry cannot be reached or refuses, or sends more than a blob has.
    """
    command = ["--insecure-policy", "copy", "--quiet", "--preserve-digests", "--dest-oci-accept-uncompressed-layers"]
    source = [*access.options(prefix="src-"), f"docker://{reference.exact}"]
    _fetch(reference, [*command, _RETRIES, *source, f"oci:{layout}:artifact"], blobs)


def _digest(text: bytes, reference: Reference) -> Digest:
    algorithm = reference.digest.algorithm if reference.digest else "sha256"
    digest = Digest.of(text, algorithm)
    if reference.digest not in {None, digest}:
        raise BlobError(f"{reference}: the registry gave a manifest of digest {digest}; do not use it")
    return digest


def _inspect(reference: Reference, access: RegistryAccess, *, config: bool = False) -> bytes:
    """Return the bytes of a manifest or index, or of the config of a manifest."""
    flags = ["--raw", *(["--config"] if config else []), _RETRIES, *access.options()]
    return _skopeo(reference, ["inspect", *flags, f"docker://{reference.exact}"])


def _fetch(reference: Reference, arguments: list[str], blobs: Iterable[Descriptor]) -> None:
    """Run skopeo, which takes a blob's bytes as long as they come, until its file is larger than any blob is."""
    largest = max((blob.size for blob in blobs), default=0)
    try:
        _skopeo(reference, arguments, largest_file=min(largest + _SPARE, _MOST))
    except FileSizeError as error:
        raise BlobError(
            f"{reference}: the registry sends more than the {largest} bytes that its largest blob has; do not use it"
        ) from error


def _skopeo(reference: Reference, arguments: list[str], *, largest_file: int | None = None) -> bytes:
    try:
        return run([SKOPEO, *arguments], package="skopeo", largest_file=largest_file, give_up=_GIVE_UP)
    except FileSizeError:
        raise
    except ProcessError as error:
        match = _FATAL.search(str(error))
        if match is None:
            raise
        said = _NO_CAUSE.sub("", re.sub(r"\\(.)", lambda escape: _ESCAPED.get(escape[1], escape[1]), match[1]))
        raise ImageError(f"{reference}: skopeo says: {said}; {_way_out(said, reference.domain)}") from error


def _way_out(said: str, domain: str) -> str:
    mirrors = _MIRRORS.search(said)
    if mirrors is not None:
        failures, mirror, said = mirrors.groups()
        # a registry that has mirrors is often out of reach on purpose
        if _UNREACHABLE.search(said) and not _UNREACHABLE.search(failures):
            said, domain = failures, mirror
    ways_out = (text for pattern, text in _WAYS_OUT if pattern.search(said))
    return next(ways_out, f"check the name, or {_LOG_IN}").format(domain=domain)
