"""A deployment that a program declared, read as strictly as one in JSON or Nix."""

import re

from nixoci.container.model import Deployment
from nixoci.document import plain, structure
from nixoci.errors import ContainerError, DocumentError

_WHAT = "deployment"
_PATH = re.compile(r'(?:[A-Za-z]+|\["(?:[^"\\]|\\.)*"\]|\[\d+\]|\.)+')
_KEY = re.compile(r'\["((?:[^"\\]|\\.)*)"\]')


def as_declared(deployment: Deployment) -> Deployment:
    """Return a deployment with the types of the model: choices may be given as their words, and lists as tuples.

    >>> from nixoci.container.model import Container
    >>> as_declared(Deployment(containers={"web": Container(image="nginx", ports=80)}))
    Traceback (most recent call last):
    nixoci.errors.ContainerError: containers.web.ports: expected a list, got 80

    Raises:
        ContainerError: A value is of another type; the message starts with the option.
    """
    try:
        return structure(Deployment, plain(deployment), what=_WHAT, strict=True)
    except DocumentError as error:
        message = str(error).removeprefix(f"{_WHAT}: ")
        found = _PATH.match(message)
        option = found.group() if found else ""
        raise ContainerError(_KEY.sub(r".\1", option) + message[len(option) :]) from error
