"""The JSON schema (draft 2020-12) of a document class."""

import dataclasses
import types
from enum import Enum, EnumType
from typing import Any, Union, get_args, get_origin, get_type_hints

from nixoci.container.backends import RESTRICTIONS
from nixoci.container.model import Deployment
from nixoci.document import json_key, plain

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_SCALARS: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    bool: {"type": "boolean"},
    Any: {},
}


def json_schema(cls: type[Any]) -> dict[str, Any]:
    """Return the JSON schema of a document class, with each nested class under `$defs` by name."""
    definitions: dict[str, Any] = {}
    root = _of(cls, definitions)
    return {"$schema": DIALECT, **root, "$defs": dict(sorted(definitions.items()))}


def deployment_schema() -> dict[str, Any]:
    """Return the JSON schema of a deployment, with the refusals of each backend as the annotation `x-refusals`."""
    refusals = {
        str(backend): [plain(refusal) for refusal in restrictions.refusals]
        for backend, restrictions in RESTRICTIONS.items()
    }
    return json_schema(Deployment) | {"x-refusals": refusals}


def _of(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if kind in _SCALARS:
        return dict(_SCALARS[kind])
    if isinstance(kind, EnumType):
        return {"enum": [str(choice) for choice in kind]}  # type: ignore[var-annotated]
    if dataclasses.is_dataclass(kind):
        name = kind.__name__  # type: ignore[union-attr]
        if name not in definitions:
            definitions[name] = {}
            definitions[name] = _object(kind, definitions)
        return {"$ref": f"#/$defs/{name}"}
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is list:
        return {"type": "array", "items": _of(arguments[0], definitions)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _of(arguments[1], definitions)}
    if origin in {Union, types.UnionType}:
        kinds = [{"type": "null"} if each is type(None) else _of(each, definitions) for each in arguments]
        return {"anyOf": kinds}
    raise TypeError(f"no JSON schema for {kind!r}")


def _object(cls: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    hints = get_type_hints(cls)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for field in dataclasses.fields(cls):
        schema = _of(hints[field.name], definitions)
        if "about" in field.metadata:
            schema["description"] = field.metadata["about"]
        if field.default is not dataclasses.MISSING:
            schema["default"] = str(field.default) if isinstance(field.default, Enum) else field.default
        elif field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
            schema["default"] = {} if dataclasses.is_dataclass(default) else default
        else:
            required.append(json_key(field))
        properties[json_key(field)] = schema
    return {
        "type": "object",
        "description": cls.__doc__,
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
