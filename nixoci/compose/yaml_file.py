"""YAML, read as Compose reads it (YAML 1.2 scalars, merge keys of YAML 1.1), with limits on size, depth and aliases."""

import re
from dataclasses import replace
from pathlib import Path

import yaml
from yaml.nodes import MappingNode, ScalarNode, SequenceNode

from nixoci.compose.node import Node, Place, Scalar
from nixoci.errors import ComposeError

LARGEST_FILE = 4 << 20
"""The most bytes of a file."""
MOST_VALUES = 100_000
"""The most values of a file, those of aliases included."""
DEEPEST = 60
"""The most levels of lists and mappings."""

_WORDS: dict[str, Scalar] = dict.fromkeys(("", "~", "null", "Null", "NULL"))
_WORDS |= dict.fromkeys(("true", "True", "TRUE"), True) | dict.fromkeys(("false", "False", "FALSE"), False)
_INTEGER = re.compile(r"[-+]?[0-9]+")
_BASES = ((re.compile(r"0x[0-9a-fA-F]+"), 16), (re.compile(r"0o[0-7]+"), 8), (re.compile(r"0[0-7]+"), 8))
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?")
_LONGEST_NUMBER = 100
_COMPOSE_TAGS = {"!reset", "!override"}
_PLAIN = "tag:yaml.org,2002:"
_MERGE = f"{_PLAIN}merge"
_CORE_TAGS = {"bool", "float", "int", "map", "merge", "null", "seq", "str", "timestamp", "value"}


def read_yaml(text: bytes, *, file: str, directory: Path) -> Node:
    """Read the one YAML document of a file.

    Args:
        text: The file's bytes, in UTF-8 or UTF-16.
        file: Its name in errors.
        directory: The base of its relative paths.

    Raises:
        ComposeError: Not YAML, or beyond the limits; the message starts with the file and the line.
    """
    if len(text) > LARGEST_FILE:
        raise ComposeError(f"{file}: has {len(text)} bytes, more than {LARGEST_FILE}; it is no Compose file")
    reader = _Reader(file, directory)
    try:
        root = yaml.compose(text, Loader=_Loader)
    except _TooManyError as error:
        raise ComposeError(f"{file}:{error.line}: more than {MOST_VALUES} values; it is no Compose file") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        raise ComposeError(f"{file}:{line}: not valid YAML: {error.problem or error.context}; correct it") from error
    except (yaml.YAMLError, UnicodeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ComposeError(f"{file}: not valid YAML: {reason}; correct it") from error
    except RecursionError as error:
        raise ComposeError(f"{file}: nests deeper than {DEEPEST} levels; it is no Compose file") from error
    if root is None:
        return Node(value=None, place=Place(file=file, line=1, directory=directory))
    return reader.node(root, 0)


class _TooManyError(Exception):
    """The text has too many values; `line` is the one of the first that is too much."""

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


class _Loader(yaml.SafeLoader):
    """A loader that stops as soon as there are too many values: reading them all takes half a minute."""

    count = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.count += 1
        if self.count > MOST_VALUES:
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise _TooManyError(event.start_mark.line + 1)
        return super().compose_node(parent, index)


class _Reader:
    """The conversion of one document; an alias is converted once, and counts each time."""

    def __init__(self, file: str, directory: Path) -> None:
        self._file = file
        self._directory = directory
        self._done: dict[int, tuple[Node, int]] = {}
        self._count = 0
        self._open: set[int] = set()

    def node(self, node: yaml.Node, depth: int) -> Node:
        known = self._done.get(id(node))
        if known is not None:
            self._add(known[1], node)
            return known[0]
        if depth > DEEPEST or id(node) in self._open:
            what = "contains itself" if id(node) in self._open else f"nests deeper than {DEEPEST} levels"
            raise ComposeError(f"{self._place(node)}: this value {what}; it is no Compose file")
        before = self._count
        self._add(1, node)
        self._open.add(id(node))
        made = Node(value=self._value(node, depth), place=self._place(node), tag=self._tag(node))
        self._open.remove(id(node))
        self._done[id(node)] = (made, self._count - before)
        return made

    def _add(self, count: int, node: yaml.Node) -> None:
        self._count += count
        if self._count > MOST_VALUES:
            raise ComposeError(
                f"{self._place(node)}: more than {MOST_VALUES} values with those of aliases; use fewer aliases"
            )

    def _place(self, node: yaml.Node) -> Place:
        return Place(file=self._file, line=node.start_mark.line + 1, directory=self._directory)

    def _tag(self, node: yaml.Node) -> str:
        if node.tag in _COMPOSE_TAGS:
            return str(node.tag)
        if node.tag.removeprefix(_PLAIN) not in _CORE_TAGS:
            raise ComposeError(f"{self._place(node)}: the tag {node.tag} is not one of Compose; remove it")
        return ""

    def _value(self, node: yaml.Node, depth: int) -> "Scalar | list[Node] | dict[str, Node]":
        match node:
            case ScalarNode():
                return _scalar(node)
            case SequenceNode():
                return [self.node(item, depth + 1) for item in node.value]
            case MappingNode():
                return self._mapping(node, depth)
        raise ComposeError(f"{self._place(node)}: not a value of YAML that Compose knows")

    def _mapping(self, node: MappingNode, depth: int) -> dict[str, Node]:
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                raise ComposeError(f"{self._place(key)}: a key has to be text")
            Node(value=None, place=self._place(key)).checked(key.value)
            if key.tag == _MERGE:
                found = self.node(value, depth + 1)
                for each in found.value if isinstance(found.value, list) else [found]:
                    merged = each.items("<<") | merged  # of several mappings, the first has precedence
            elif key.value in own:
                raise ComposeError(f"{self._place(key)}: the key {key.value!r} is there twice; remove one of them")
            else:
                # the line of the key: a list or mapping starts on the line of its first item, and an alias elsewhere
                own[key.value] = replace(self.node(value, depth + 1), place=self._place(key))
        return merged | own


def _scalar(node: ScalarNode) -> Scalar:
    """Return a scalar; only a plain one can be anything but text, and `22:22` is text (it is a number in YAML 1.1)."""
    text = str(node.value)
    if len(text) > _LONGEST_NUMBER:
        return text
    told_text = node.tag == f"{_PLAIN}str" and (text in _WORDS or _INTEGER.fullmatch(text))
    if node.style is not None or told_text:
        return text
    if text in _WORDS:
        return _WORDS[text]
    for pattern, base in _BASES:
        if pattern.fullmatch(text):
            return int(text, base)
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
