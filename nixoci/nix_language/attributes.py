"""Values that come from Nix as JSON: sets with names that Nix's JSON cannot have are lists of their members.

`expressions/units.nix` writes them, since to Nix a set with an attribute `outPath` or `__toString` is a string.
"""

from typing import Any

_MEMBERS = "__members"


def with_members(value: Any) -> Any:
    """Return a JSON value with the objects in place of the lists of their members."""
    if isinstance(value, list):
        return [with_members(item) for item in value]
    if not isinstance(value, dict):
        return value
    if isinstance(value.get(_MEMBERS), list):
        return {member["name"]: with_members(member["value"]) for member in value[_MEMBERS]}
    return {name: with_members(item) for name, item in value.items()}
