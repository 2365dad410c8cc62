"""The errors of nixoci: one tree of classes, whose messages are one line that names the thing and the way out."""

NO_ACCESS = "check the owner and mode of the path, and of the directories above it"
"""The way out for a path that the user may not use."""


class NixociError(Exception):
    """Anything nixoci refuses or fails to do.

    `str(error)` is one line: the thing, what was found, what was expected, what to do.
    """


class ImageError(NixociError):
    """An image, its manifests or its config break the OCI image specification or are not supported."""


class BlobError(ImageError):
    """A blob is missing, or is not what its descriptor promises (digest, size, compression)."""


class PlatformError(ImageError):
    """An image has nothing for the requested platform."""


class LayerError(ImageError):
    """A layer's tar stream breaks a rule of the layer specification."""


class LimitError(LayerError):
    """An image exceeds a limit that guards against decompression bombs."""


class InvalidReferenceError(ImageError):
    """A text is not an image reference, or not a source that nixoci reads."""


class DocumentError(NixociError):
    """A JSON document does not have the shape that its version requires."""


class LockError(NixociError):
    """The lock file cannot be read, or an entry in it cannot be found or changed."""


class ComposeError(NixociError):
    """A Compose file cannot be read; the message starts with the file and the line."""


class EscapeError(NixociError):
    """A value cannot be written in the language of a generated file."""


class StoreError(NixociError):
    """A path of the Nix store, an image path or an image store cannot be used or made."""


class ContainerError(NixociError):
    """A container cannot be run as declared; the message starts with the option (`containers.web.ports`)."""


class EngineError(NixociError):
    """A container engine cannot run images in place: it is missing, or not as nixoci knows it."""


class DeltaError(NixociError):
    """A delta cannot be made, or is damaged, forged, or not for this store."""


class UnsupportedVersionError(DocumentError, LockError, StoreError, DeltaError):
    """A lock, an image path or a delta is of a format version that this nixoci does not read.

    It is below the error of each of them, so that code which catches that error catches this one too.
    """


class ProcessError(NixociError):
    """A program that nixoci drives is missing or has failed.

    Attributes:
        code: Its exit code, negative for a signal; None if it did not run to its end.
        stderr: What it wrote there.
        stdout: Likewise.
    """

    def __init__(self, message: str, *, code: int | None = None, stderr: str = "", stdout: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.stderr = stderr
        self.stdout = stdout


def read_failure(file: object, error: OSError, *, otherwise: str) -> str:
    """Return the line about a file that cannot be read: `otherwise`, unless the user may not read it."""
    return f"{file}: {error.strerror}; {NO_ACCESS}" if isinstance(error, PermissionError) else otherwise
