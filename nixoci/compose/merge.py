"""Compose files joined: what a later file, or a service that extends another, says about the same thing.

The rules are those of compose-spec, 13-merge.md: mappings merge, lists append, commands replace, and `!reset` and
`!override` take out and replace.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from nixoci.compose.node import Node
from nixoci.compose.values import port_fields

_REPLACED = frozenset({"command", "entrypoint", "test"})
_PAIRS = {"environment": "=", "labels": "=", "annotations": "=", "sysctls": "=", "extra_hosts": "=:"}
"""Mappings that may be lists of pairs, and the characters between name and value."""

_NAMES = frozenset({"depends_on", "networks"})
"""Mappings that may be lists of names."""

_ONE_OR_MORE = frozenset({"dns", "dns_opt", "dns_search", "env_file", "label_file", "tmpfs"})


Path = tuple[str, ...]
"""The keys that lead to a value, for example `services`, `web`, `environment`."""


def merged(base: Node, other: Node, path: Path = ()) -> Node:
    """Return two values of one path as one; the second has precedence."""
    key = _rule(path)
    if other.tag == "!override" or key in _REPLACED:
        return other
    if other.value is None:
        return base
    return _joined(base, other, path, key)


def _joined(base: Node, other: Node, path: Path, key: str) -> Node:
    if key in _PAIRS:
        pairs = {**base.pairs(key, separators=_PAIRS[key]), **other.pairs(key, separators=_PAIRS[key])}
        return replace(other, value=pairs)
    if key in _NAMES:
        base, other = (_named(each, ".".join(path)) for each in (base, other))
    elif key == "logging" and _driver(base) != _driver(other) and _driver(other):
        return other
    if key in _ONE_OR_MORE or (isinstance(base.value, list) and isinstance(other.value, list)):
        return _unique(path, replace(other, value=[*base.one_or_more(key), *other.one_or_more(key)]))
    if not isinstance(base.value, dict) or not isinstance(other.value, dict):
        return other
    result = dict(base.value)
    for name, value in other.value.items():
        if value.tag == "!reset":
            result.pop(name, None)
        else:
            result[name] = merged(result[name], value, (*path, name)) if name in result else value
    return replace(other, value=result)


def without_reset(node: Node, path: Path = ()) -> Node:
    """Return a value without the entries that `!reset` takes out, and with one entry for each target of its lists."""
    match node.value:
        case dict():
            left = {key: without_reset(item, (*path, key)) for key, item in node.value.items() if item.tag != "!reset"}
            return replace(node, value=left)
        case list():
            items = [without_reset(item, (*path, "")) for item in node.value if item.tag != "!reset"]
            return _unique(path, replace(node, value=items))
    return node


def _rule(path: Path) -> str:
    """Return the key whose rules count for a path, if any do: a service may be called `command` too."""
    match path:
        case ("services", _, key):
            return key
        case ("services", _, "healthcheck", "test"):
            return "test"
        case ("services", _, "networks", _, "aliases"):
            return "aliases"
        case ("volumes" | "networks", _, "labels"):
            return "labels"
    return ""


def _named(node: Node, what: str) -> Node:
    """Return a list of names as a mapping from these names to nothing."""
    if not isinstance(node.value, list):
        return node
    return replace(node, value={item.text(what): Node(value=None, place=item.place) for item in node.value})


def _driver(node: Node) -> object:
    found = node.value.get("driver") if isinstance(node.value, dict) else None
    return found.value if found is not None else None


def _unique(path: Path, node: Node) -> Node:
    """Return a list in which the last item for one target is the only one."""
    identity = _IDENTITIES.get(_rule(path))
    if identity is None or not isinstance(node.value, list):
        return node
    found: dict[str, Node] = {}
    for item in node.value:
        found[identity(item, ".".join(path))] = item
    return replace(node, value=list(found.values()))


def _mount_target(item: Node, what: str) -> str:
    if isinstance(item.value, dict):
        return _field(item.value, "target", what)
    parts = item.text(what).split(":")
    return parts[1] if len(parts) > 1 else parts[0]


def _file_target(item: Node, what: str) -> str:
    if isinstance(item.value, dict):
        return _field(item.value, "target", what) or _field(item.value, "source", what)
    return item.text(what)


def _port(item: Node, what: str) -> str:
    return repr(port_fields(item, what))


def _text(item: Node, what: str) -> str:
    return _field(item.value, "path", what) if isinstance(item.value, dict) else item.text(what)


def _field(fields: Mapping[str, Node], name: str, what: str) -> str:
    return fields[name].text(f"{what}.{name}") if name in fields else ""


_IDENTITIES: dict[str, Callable[[Node, str], str]] = {
    "volumes": _mount_target,
    "devices": _mount_target,
    "secrets": _file_target,
    "configs": _file_target,
    "ports": _port,
    "env_file": _text,
    **dict.fromkeys(("cap_add", "cap_drop", "dns", "dns_opt", "dns_search", "tmpfs", "aliases", "expose"), _text),
}
