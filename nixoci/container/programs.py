"""The program of a process, found in the image as execvp(3) finds it in the container."""

import posixpath
from pathlib import PurePosixPath

from nixoci.container.environment import process_environment
from nixoci.container.resolve import ResolvedContainer
from nixoci.errors import ContainerError
from nixoci.tree.model import Kind

_EXECUTABLE = 0o111


def find_program(container: ResolvedContainer, option: str, name: str) -> str:
    """Return the path of a program; a path as it is, a name from the container's PATH.

    A path below a volume may lead to a program that the image does not have.

    Raises:
        ContainerError: There is no such program; the message starts with `option`.
    """
    if "/" in name:
        path = posixpath.join(container.workdir, name)
        if _is_mounted(container, path) or _is_program(container, path):
            return path
        raise ContainerError(f"{option}: the image has no program {path}; name another")
    for folder in process_environment(container)["PATH"].split(":"):
        path = posixpath.join(container.workdir, folder, name)
        if _is_program(container, path):
            return path
    raise ContainerError(f"{option}: the image has no program {name!r} in its PATH; name another, or give its path")


def _is_program(container: ResolvedContainer, path: str) -> bool:
    inode = container.tree.find(path)
    return inode is not None and inode.kind is Kind.REGULAR and bool(inode.mode & _EXECUTABLE)


def _is_mounted(container: ResolvedContainer, path: str) -> bool:
    canonical = posixpath.normpath(path)
    return not {*container.parsed.mount_targets}.isdisjoint(map(str, (canonical, *PurePosixPath(canonical).parents)))
