from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nixoci.nix_language.attributes import with_members

NAMES = st.sampled_from(["outPath", "__toString", "__members", "type", "a"]) | st.text()
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner),
)


def written(value: Any) -> Any:
    """Return a value as units.nix writes it."""
    if isinstance(value, list):
        return [written(item) for item in value]
    if not isinstance(value, dict):
        return value
    if {"outPath", "__toString", "__members"} & set(value):
        return {"__members": [{"name": name, "value": written(item)} for name, item in sorted(value.items())]}
    return {name: written(item) for name, item in value.items()}


@given(VALUES)
def test_what_nix_writes_is_read_as_it_was(value: Any) -> None:
    assert with_members(written(value)) == value
