"""Descriptor, index, manifest and config, as the OCI image specification and Docker's schema 2 define them."""

from dataclasses import dataclass, field
from typing import Any, Self

from nixoci.document import key
from nixoci.errors import PlatformError
from nixoci.oci.digest import Digest

_GO_NAMES = {
    "i386": ("386", None),
    "x86_64": ("amd64", None),
    "x86-64": ("amd64", None),
    "aarch64": ("arm64", None),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
}
"""Go's names, and variants, by other names of architectures (containerd, platforms/database.go)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """The platform of an image: `os/architecture[/variant]`, with Go's names (image-spec image-index.md)."""

    os: str = ""
    architecture: str = ""
    variant: str | None = None
    os_version: str | None = field(default=None, metadata=key("os.version"))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `linux/amd64` or `linux/arm/v7`.

        Raises:
            PlatformError: Not of that form.
        """
        parts = text.split("/")
        if len(parts) not in {2, 3} or not all(parts):
            raise PlatformError(f"platform {text!r}: expected os/architecture[/variant], for example linux/amd64")
        return cls(os=parts[0], architecture=parts[1], variant=parts[2] if len(parts) == 3 else None)

    @property
    def normalized(self) -> Self:
        """The canonical form of this platform: without amd64/v1 and arm64/v8, which are implied, but with arm/v7.

        Names are Go's, whatever the spelling. 32-bit ARM without a variant means v7; that is written out because v6
        is common too (containerd, platforms/database.go).
        """
        system, architecture = self.os.lower(), self.architecture.lower()
        architecture, named = _GO_NAMES.get(architecture, (architecture, None))
        variant = (self.variant or "").lower() or named or ("v7" if architecture == "arm" else None)
        if variant and variant.isdigit():
            variant = f"v{variant}"
        implied = (architecture, variant) in {("amd64", "v1"), ("arm64", "v8")}
        return type(self)(
            os="darwin" if system == "macos" else system,
            architecture=architecture,
            variant=None if implied else variant,
        )

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """A reference to a blob by its media type, digest and size in bytes (image-spec descriptor.md)."""

    digest: Digest
    size: int
    media_type: str = ""
    platform: Platform | None = None
    artifact_type: str | None = None
    annotations: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """A list of manifests, one per platform (image-spec image-index.md)."""

    schema_version: int
    manifests: list[Descriptor] = field(default_factory=list)
    media_type: str | None = None
    artifact_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One platform's config and layers, lowest layer first (image-spec manifest.md)."""

    schema_version: int
    config: Descriptor
    layers: list[Descriptor] = field(default_factory=list)
    media_type: str | None = None
    artifact_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RootFS:
    """The diff ids, lowest layer first: the digests of the layers' uncompressed tar streams."""

    type: str = ""
    diff_ids: list[Digest] = field(default_factory=list, metadata=key("diff_ids"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck:
    """A command that checks the health of a container (Docker image spec v1.2); times are in nanoseconds."""

    test: list[str] | None = field(default=None, metadata=key("Test"))
    interval: int | None = field(default=None, metadata=key("Interval"))
    timeout: int | None = field(default=None, metadata=key("Timeout"))
    start_period: int | None = field(default=None, metadata=key("StartPeriod"))
    start_interval: int | None = field(default=None, metadata=key("StartInterval"))
    retries: int | None = field(default=None, metadata=key("Retries"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionConfig:
    """The defaults for a container of the image (image-spec config.md, `config`)."""

    user: str | None = field(default=None, metadata=key("User"))
    exposed_ports: dict[str, Any] | None = field(default=None, metadata=key("ExposedPorts"))
    env: list[str] | None = field(default=None, metadata=key("Env"))
    entrypoint: list[str] | None = field(default=None, metadata=key("Entrypoint"))
    cmd: list[str] | None = field(default=None, metadata=key("Cmd"))
    volumes: dict[str, Any] | None = field(default=None, metadata=key("Volumes"))
    working_dir: str | None = field(default=None, metadata=key("WorkingDir"))
    labels: dict[str, str] | None = field(default=None, metadata=key("Labels"))
    stop_signal: str | None = field(default=None, metadata=key("StopSignal"))
    healthcheck: Healthcheck | None = field(default=None, metadata=key("Healthcheck"))


def is_variable(entry: str) -> bool:
    """Return whether an entry of `env` is `NAME=value`; podman refuses to start an image with any other."""
    name, equals, _ = entry.partition("=")
    return bool(name and equals)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """The fields of an image's config that nixoci reads (image-spec config.md)."""

    architecture: str = ""
    os: str = ""
    rootfs: RootFS = RootFS()
    config: ExecutionConfig | None = None
    variant: str | None = None
    created: str | None = None
    author: str | None = None

    @property
    def platform(self) -> Platform:
        """The platform in the config."""
        return Platform(os=self.os, architecture=self.architecture, variant=self.variant or None)
