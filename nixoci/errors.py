"""The errors of nixoci: one tree, each with a one-line message that names the thing and the way out."""


class NixociError(Exception):
    """Anything nixoci refuses or fails to do.

    `str(error)` is one line: the thing, what was found, what was expected, what to do.
    """


class ImageError(NixociError):
    """An image, its manifests or its config break the OCI image specification or are not supported."""


class BlobError(ImageError):
    """A blob is missing, or is not what its descriptor promises (digest, size, compression)."""


class PlatformError(ImageError):
    """An image has nothing for the platform that was asked for."""


class LayerError(ImageError):
    """A layer's tar stream breaks a rule of the layer specification."""


class LimitError(LayerError):
    """An image exceeds a limit that guards against decompression bombs."""


class ReferenceError(ImageError):  # noqa: A001 - the field's name; the builtin means something else
    """A text is not an image reference or a source that nixoci reads."""


class DocumentError(NixociError):
    """A JSON document does not have the shape its version promises."""


class LockError(NixociError):
    """The lock file cannot be read, or an entry in it cannot be found or changed."""


class EscapeError(NixociError):
    """A value cannot be written in the language of a generated file."""


class StoreError(NixociError):
    """A path of the Nix store, an image path or an image store cannot be used or made."""


class ContainerError(NixociError):
    """A container cannot be run as declared; the message starts with the option (`containers.web.ports`)."""


class DeltaError(NixociError):
    """A delta cannot be made, or is damaged, forged, or not for this store."""


class ProcessError(NixociError):
    """A program that nixoci drives is missing or has failed; `stderr` is all that it wrote there."""

    def __init__(self, message: str, *, stderr: str = "") -> None:
        super().__init__(message)
        self.stderr = stderr
