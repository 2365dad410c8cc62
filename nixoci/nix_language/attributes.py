"""JSON values that Nix wrote.

Nix writes a set with an attribute `outPath` or `__toString` as a string. `expressions/units.nix` therefore writes such
a set as a list of its members.
"""

from typing import Any

_MEMBERS = "__members"


def with_members(value: Any) -> Any:
    """Return a JSON value in which every list of members is an object again."""
    if isinstance(value, list):
        return [with_members(item) for item in value]
    if not isinstance(value, dict):
        return value
    if isinstance(value.get(_MEMBERS), list):
        return {member["name"]: with_members(member["value"]) for member in value[_MEMBERS]}
    return {name: with_members(item) for name, item in value.items()}
