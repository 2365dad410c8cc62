"""The types that Go programs require of a config's fields (image-spec v1.Image; containers/image, Schema2Image).

A single config that podman cannot decode makes `podman images` fail for the whole host. Go takes null for any type, and
a key in any case.
"""

from collections.abc import Callable, Mapping
from typing import Any

from nixoci.document import go_fields
from nixoci.errors import ImageError

_MAX = (1 << 63) - 1

_Check = Callable[[Any, str], Any]
"""Checks a value that is not null, and returns it; the second argument is its path inside the config."""


def check_config_types(config: dict[str, Any], *, docker: bool, what: str) -> Any:
    """Check the fields of a config that Go decodes, and return it with the keys that the specifications have for them.

    Args:
        config: The config's JSON value.
        docker: The image has Docker's media types, so podman reads Docker's fields too.
        what: The config's name in errors.

    Raises:
        ImageError: A field has another type, or is there twice; the message has its path.
    """
    try:
        return _fields(_DOCKER if docker else _OCI)(config, "")
    except _MismatchError as error:
        raise ImageError(f"{what}: {error}; rebuild the image") from error


class _MismatchError(ValueError):
    """A value of another type; the text has the path and both types."""


def _mismatch(value: Any, path: str, expected: str) -> _MismatchError:
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "a string", list: "a list"}
    return _MismatchError(f"{path}: expected {expected}, found {kinds.get(type(value), 'an object')}")


def _text(value: Any, path: str) -> Any:
    if not isinstance(value, str):
        raise _mismatch(value, path, "a string")
    return value


def _flag(value: Any, path: str) -> Any:
    if not isinstance(value, bool):
        raise _mismatch(value, path, "true or false")
    return value


def _integer(value: Any, path: str) -> Any:
    if type(value) is not int:
        raise _mismatch(value, path, "an integer")
    if not -_MAX - 1 <= value <= _MAX:
        raise _MismatchError(f"{path}: expected an integer of 64 bits, found a larger one")
    return value


def _object(value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise _mismatch(value, path, "an object")
    return value


def _list(check: _Check) -> _Check:
    def checked(value: Any, path: str) -> Any:
        if not isinstance(value, list):
            raise _mismatch(value, path, "a list")
        return [item if item is None else check(item, f"{path}[{number}]") for number, item in enumerate(value)]

    return checked


def _map(check: _Check) -> _Check:
    def checked(value: Any, path: str) -> Any:
        items = _object(value, path).items()
        return {name: item if item is None else check(item, f"{path}.{name}") for name, item in items}

    return checked


def _fields(checks: Mapping[str, _Check]) -> _Check:
    names = {name.casefold(): name for name in checks}

    def checked(value: Any, path: str) -> Any:
        fields: dict[str, Any] = {}
        given = _object(value, path)
        try:
            entries = list(go_fields(given, names))
        except ValueError as error:
            raise _MismatchError(f"{path}: {error}" if path else str(error)) from error
        for name, key, item in entries:
            check = checks.get(name)
            fields[name] = item if check is None or item is None else check(item, f"{path}.{key}" if path else key)
        return fields

    return checked


_HEALTHCHECK = {
    "Test": _list(_text),
    "Interval": _integer,
    "Timeout": _integer,
    "StartPeriod": _integer,
    "StartInterval": _integer,
    "Retries": _integer,
}
_EXECUTION = {
    "User": _text,
    "ExposedPorts": _map(_object),
    "Env": _list(_text),
    "Entrypoint": _list(_text),
    "Cmd": _list(_text),
    "Volumes": _map(_object),
    "WorkingDir": _text,
    "Labels": _map(_text),
    "StopSignal": _text,
    "ArgsEscaped": _flag,
}
_DOCKER_EXECUTION = _EXECUTION | {
    "Hostname": _text,
    "Domainname": _text,
    "AttachStdin": _flag,
    "AttachStdout": _flag,
    "AttachStderr": _flag,
    "Tty": _flag,
    "OpenStdin": _flag,
    "StdinOnce": _flag,
    "Healthcheck": _fields(_HEALTHCHECK),
    "Image": _text,
    "NetworkDisabled": _flag,
    "MacAddress": _text,
    "OnBuild": _list(_text),
    "StopTimeout": _integer,
    "Shell": _list(_text),
}
_HISTORY = {"created": _text, "created_by": _text, "author": _text, "comment": _text, "empty_layer": _flag}
_OCI = {
    "created": _text,
    "author": _text,
    "architecture": _text,
    "os": _text,
    "os.version": _text,
    "os.features": _list(_text),
    "variant": _text,
    "config": _fields(_EXECUTION),
    "rootfs": _fields({"type": _text, "diff_ids": _list(_text)}),
    "history": _list(_fields(_HISTORY)),
}
_DOCKER = _OCI | {
    "config": _fields(_DOCKER_EXECUTION),
    "id": _text,
    "parent": _text,
    "comment": _text,
    "container": _text,
    "container_config": _fields(_DOCKER_EXECUTION),
    "docker_version": _text,
    "Size": _integer,
}
