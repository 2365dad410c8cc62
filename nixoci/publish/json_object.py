"""JSON objects whose values are read one by one, each with its type.

The machine that updates reads the index while Nix waits for the substituter to start. `nixoci.document.structure` does
the same for whole dataclasses; to load what it uses would be a tenth of that start.
"""

from typing import Any, TypeVar

from nixoci.document import show
from nixoci.errors import DocumentError

T = TypeVar("T")


class JsonObject:
    """A JSON object of a document, whose keys must all be read.

    Args:
        value: The decoded value.
        what: The document's name in errors.
        path: The place of the value in the document; empty for the document itself.

    Raises:
        DocumentError: The value is no object; from every method, a value is missing or of another type. The message is
            that of `nixoci.document.structure`.
    """

    def __init__(self, value: Any, *, what: str, path: str = "") -> None:
        self._what = what
        self._path = path
        self._left: dict[str, Any] = dict(self._typed(value, dict, "an object", path))

    def integer(self, key: str) -> int:
        """Take an integer."""
        return self._typed(self._take(key), int, "an integer", self._place(key))

    def text(self, key: str) -> str:
        """Take a string."""
        return self._typed(self._take(key), str, "a string", self._place(key))

    def texts(self, key: str) -> list[str]:
        """Take a list of strings."""
        return [self._typed(each, str, "a string", place) for place, each in self._items(key)]

    def objects(self, key: str, *, default: "list[JsonObject] | None" = None) -> "list[JsonObject]":
        """Take a list of objects; `default`, unless it is None, if it is missing."""
        if default is not None and key not in self._left:
            return default
        return [JsonObject(each, what=self._what, path=place) for place, each in self._items(key)]

    def object_or_none(self, key: str) -> "JsonObject | None":
        """Take an object; None if it is missing, or null."""
        value = self._left.pop(key, None)
        return None if value is None else JsonObject(value, what=self._what, path=self._place(key))

    def end(self) -> None:
        """Refuse keys that were not taken."""
        if self._left:
            raise self._error(self._path, f"unknown key {', '.join(map(repr, sorted(self._left)))}")

    def _take(self, key: str) -> Any:
        if key not in self._left:
            message = f"key {key!r} is missing" if self._path else "is missing"
            raise self._error(self._path or key, message)
        return self._left.pop(key)

    def _items(self, key: str) -> list[tuple[str, Any]]:
        place = self._place(key)
        items = self._typed(self._take(key), list, "a list", place)
        return [(f"{place}[{number}]", each) for number, each in enumerate(items)]

    def _place(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def _typed(self, value: Any, kind: type[T], words: str, place: str) -> T:
        if type(value) is not kind:  # true is no integer
            raise self._error(place, f"expected {words}, got {show(value)}")
        return value

    def _error(self, place: str, message: str) -> DocumentError:
        return DocumentError(f"{self._what}: {place}: {message}" if place else f"{self._what}: {message}")
