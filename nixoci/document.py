"""Typed JSON documents: frozen dataclasses, a stable text, and errors with the whole path inside the document.

A field is written in camelCase unless its metadata names another key: `field(metadata=key("os.version"))`.
A field that has its default value is left out. Documents of other projects (OCI) are read leniently, because they may
add keys, and with keys in any case, as Go programs read them; nixoci's own are read strictly.
"""

import dataclasses
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, get_origin

from nixoci.errors import DocumentError, NixociError, UnsupportedVersionError

if TYPE_CHECKING:
    from cattrs import Converter

T = TypeVar("T")

_FOUND_LENGTH = 60
DEEPEST = 200
"""Levels of lists and objects in a document; reading and writing take stack for each."""

_CONFLICT = re.compile(r"^(?:<{7}|={7}|>{7})(?: |$)", re.MULTILINE)
"""Matches what a merge writes around lines of two versions (git-merge(1), How conflicts are presented)."""


def key(name: str) -> Mapping[str, str]:
    """Return field metadata that gives a field the JSON key `name`."""
    return {"key": name}


def parse(cls: type[T], text: bytes | str, *, what: str, strict: bool = False) -> T:
    """Read the JSON `text` as a `cls`.

    Args:
        cls: A dataclass.
        text: JSON; bytes are UTF-8.
        what: The document's name in errors, for example `nixoci.lock.json`.
        strict: Refuse keys that `cls` does not have.

    Raises:
        DocumentError: Not JSON, or not of the shape of `cls`; the message has the path inside the document.
    """
    return structure(cls, load(text, what=what), what=what, strict=strict)


def load(text: bytes | str, *, what: str, deepest: int = DEEPEST) -> Any:
    """Read JSON; refuse duplicate keys, and numbers beyond those of a double, on which JSON readers disagree.

    Args:
        text: JSON; bytes are UTF-8.
        what: The document's name in errors.
        deepest: Levels of lists and objects that it may have.

    Raises:
        DocumentError: Not JSON, or refused.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
        if "\\u" in text:
            # half a surrogate pair is not a character and cannot be written again
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        if isinstance(text, str) and (conflict := _CONFLICT.search(text)) is not None:
            line = text.count("\n", 0, conflict.start()) + 1
            raise DocumentError(
                f"{what}: line {line}: has a conflict of a merge; keep one of its two versions, and remove its marks"
            ) from error
        found = error if text.strip() else "it is empty"
        raise DocumentError(f"{what}: not valid JSON: {found}") from error
    if text.count("[") + text.count("{") > deepest and _is_deeper(value, deepest):
        raise DocumentError(f"{what}: nests deeper than {deepest} levels, the limit")
    return value


def structure(cls: type[T], value: Any, *, what: str, strict: bool = False) -> T:
    """Like `parse`, for a value that is already decoded."""
    from cattrs import BaseValidationError  # noqa: PLC0415 - it takes longer to load than all of the rest

    try:
        return _converter(strict).structure(value, cls)
    except BaseValidationError as error:
        path, message = _first(error, "")
        raise DocumentError(f"{what}: {path}: {message}" if path else f"{what}: {message}") from error
    except _MismatchError as error:
        raise DocumentError(f"{what}: {error}") from error


def check_version(value: Any, known: int, *, what: str, way_out: str) -> None:
    """Refuse a decoded document of another `version` than `known`, before its keys are read: another may have others.

    A document that has no integer there passes; `structure` has the message for that.

    Raises:
        UnsupportedVersionError: "{what}: version 2, this nixoci reads 1; {way_out}".
    """
    version = value.get("version") if isinstance(value, dict) else None
    if type(version) is int and version != known:
        raise UnsupportedVersionError(f"{what}: version {version}, this nixoci reads {known}; {way_out}")


def unstructure(document: Any) -> Any:
    """Return the JSON value of a dataclass document."""
    return _converter(True).unstructure(document)  # noqa: FBT003 - a cache key


def plain(value: Any) -> Any:
    """Return the JSON value of anything that a program put into a document, also of what the document's types refuse.

    >>> plain({"a": (1, None)})
    {'a': [1, None]}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        if hasattr(value, "from_json"):
            return str(value)
        given = [(field, getattr(value, field.name)) for field in dataclasses.fields(value)]
        return {json_key(field): plain(item) for field, item in given if not _is_default(field, item)}
    if isinstance(value, Enum | os.PathLike):
        return value.value if isinstance(value, Enum) else os.fspath(value)
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _is_default(field: "dataclasses.Field[Any]", value: Any) -> bool:
    if field.default_factory is not dataclasses.MISSING:
        return bool(field.default_factory() == value)
    return field.default is not dataclasses.MISSING and field.default == value


def sorted_mappings(value: Any) -> Any:
    """Sort all mappings of a document, or of a value in one, by key; lists keep their order.

    Mappings have no order in JSON, and Nix sorts them. Documents that differ only in key order must give the same
    bytes.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        values = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
        return dataclasses.replace(value, **{name: sorted_mappings(each) for name, each in values.items()})
    if isinstance(value, dict):
        return {name: sorted_mappings(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [sorted_mappings(item) for item in value]
    return value


def dump(document: Any) -> str:
    """Return the text of a document: two spaces, keys in field order, raw UTF-8, a final newline."""
    return json.dumps(unstructure(document), indent=2, ensure_ascii=False) + "\n"


class _MismatchError(ValueError):
    """A value of the wrong type; its text is shown to the user."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"key {name!r} appears twice")
            seen.add(name)
    return result


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{show(text)[1:-1]} is too large a number")
    return number


def _is_deeper(value: Any, deepest: int) -> bool:
    """Return whether a JSON value has more levels of lists and objects."""
    level = [value]
    for _ in range(deepest + 1):
        level = [
            item
            for each in level
            if isinstance(each, dict | list)
            for item in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return False
    return True


def show(value: Any) -> str:
    """Return a value as JSON in one line of an error, cut if it is long."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= _FOUND_LENGTH else text[: _FOUND_LENGTH - 1] + "…"


def _exactly(expected: type, words: str) -> Callable[[Any, Any], Any]:
    def check(value: Any, _: Any) -> Any:
        if type(value) is not expected:
            raise _MismatchError(f"expected {words}, got {show(value)}")
        return value

    return check


def json_key(field: "dataclasses.Field[Any]") -> str:
    """Return the key under which a dataclass field is written."""
    if "key" in field.metadata:
        return str(field.metadata["key"])
    head, *rest = field.name.split("_")
    return head + "".join(part.capitalize() for part in rest)


@cache
def _converter(strict: bool, /) -> "Converter":  # noqa: FBT001 - by position only: `strict=True` would be another key
    from cattrs import Converter  # noqa: PLC0415 - as in structure
    from cattrs.cols import list_structure_factory, mapping_structure_factory  # noqa: PLC0415
    from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override  # noqa: PLC0415

    def tuple_structure_factory(target: Any, converter: Converter) -> Any:
        """Return a hook for `tuple[T, ...]`; documents have no other tuples."""
        inner = list_structure_factory(target, converter)
        return lambda value, _: tuple(inner(value, target))

    converter = Converter(forbid_extra_keys=strict, detailed_validation=True)
    converter.register_structure_hook(int, _exactly(int, "an integer"))
    text = _exactly(str, "a string")
    # null in a list or a map of strings: Go reads it as an empty one
    converter.register_structure_hook(
        str, lambda value, target: "" if value is None and not strict else text(value, target)
    )
    converter.register_structure_hook(bool, _exactly(bool, "true or false"))
    converter.register_structure_hook(int | str, _number_or_text)
    _check_container(converter, list, list, "a list", list_structure_factory)
    _check_container(converter, tuple, list, "a list", tuple_structure_factory)
    _check_container(converter, dict, dict, "an object", mapping_structure_factory)

    def structure_dataclass(cls: Any) -> Any:
        if hasattr(cls, "from_json"):
            return lambda value, _: _text_type(cls, value)
        names = {field.name: override(rename=json_key(field)) for field in dataclasses.fields(cls)}
        keys = {json_key(field).casefold(): json_key(field) for field in dataclasses.fields(cls)}
        inner = make_dict_structure_fn(cls, converter, _cattrs_forbid_extra_keys=strict, **names)  # type: ignore[arg-type]

        def check(value: Any, target: Any) -> Any:
            if not isinstance(value, dict):
                raise _MismatchError(f"expected an object, got {show(value)}")
            if not strict:  # what is null is not set
                value = {field: item for field, _, item in go_fields(value, keys) if item is not None}
            return inner(value, target)

        return check

    def unstructure_dataclass(cls: Any) -> Any:
        if hasattr(cls, "from_json"):
            return str
        names = {
            field.name: override(
                rename=json_key(field),
                omit_if_default=field.default is not dataclasses.MISSING
                or field.default_factory is not dataclasses.MISSING,
            )
            for field in dataclasses.fields(cls)
        }
        return make_dict_unstructure_fn(cls, converter, **names)  # type: ignore[arg-type]

    converter.register_structure_hook_factory(dataclasses.is_dataclass, structure_dataclass)
    converter.register_unstructure_hook_factory(dataclasses.is_dataclass, unstructure_dataclass)
    return converter


def go_fields(value: Mapping[str, Any], fields: Mapping[str, str]) -> Iterator[tuple[str, str, Any]]:
    """Yield the entries of an object as Go programs read it, with keys in any case: the field, the key and the item.

    `fields` are the fields by their `casefold`; any other key is a field of its own.

    Raises:
        ValueError: Two keys are one field, also if one of them is null; Go keeps parts of both.
    """
    seen: set[str] = set()
    for name, item in value.items():
        field = fields.get(name.casefold(), name)
        if field in seen:
            raise _MismatchError(f"key {name!r} is there already as {field!r}; Go programs read keys in any case")
        seen.add(field)
        yield field, name, item


def _number_or_text(value: Any, _: Any) -> int | str:
    if type(value) is not int and type(value) is not str:
        raise _MismatchError(f"expected an integer or a string, got {show(value)}")
    return value


def _check_container(
    converter: "Converter", kind: type, shape: type, words: str, factory: "Callable[[Any, Converter], Any]"
) -> None:
    """Refuse a value for a `kind` that is not a `shape` in JSON, before cattrs iterates over it."""
    check_kind = _exactly(shape, words)

    def hook(target: Any) -> Any:
        inner = factory(target, converter)
        return lambda value, _: inner(check_kind(value, None), target)

    def concerns(target: Any) -> bool:
        origin: Any = get_origin(target)
        return origin is kind

    converter.register_structure_hook_factory(concerns, hook)


def _text_type(cls: Any, value: Any) -> Any:
    """Read a value type that is one string in JSON (a digest, for example)."""
    if not isinstance(value, str):
        raise _MismatchError(f"expected a string, got {show(value)}")
    try:
        return cls.from_json(value)
    except NixociError as error:
        raise _MismatchError(str(error)) from error


def _first(error: BaseException, path: str) -> tuple[str, str]:
    """Return the path and the message of the first problem in a tree of cattrs errors."""
    from cattrs import (  # noqa: PLC0415 - as in structure
        ClassValidationError,
        ForbiddenExtraKeysError,
        IterableValidationError,
    )

    if isinstance(error, ClassValidationError):
        inner, note = _head(*error.group_exceptions())
        if note is None:
            return _first(inner, path)
        fields = {field.name: json_key(field) for field in dataclasses.fields(error.cl)}
        name = fields.get(note.name, note.name)
        if isinstance(inner, KeyError):
            return path or name, f"key {name!r} is missing" if path else "is missing"
        return _first(inner, f"{path}.{name}" if path else name)
    if isinstance(error, IterableValidationError):
        inner, note = _head(*error.group_exceptions())
        index = note.index if note is not None else "?"
        return _first(inner, f"{path}[{json.dumps(index, ensure_ascii=False)}]")
    if isinstance(error, ForbiddenExtraKeysError):
        keys = ", ".join(repr(name) for name in sorted(error.extra_fields))
        return path, f"unknown key {keys}"
    return path, str(error)


def _head(with_notes: list[tuple[Any, Any]], without: list[Any]) -> tuple[Any, Any]:
    return with_notes[0] if with_notes else (without[0], None)
