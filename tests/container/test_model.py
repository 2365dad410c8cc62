from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from nixoci.container.model import Deployment
from nixoci.document import dump, sorted_mappings, structure

if TYPE_CHECKING:
    import random

NAMES = st.sampled_from(["a", "b", "c", "d"])
JSON = st.recursive(st.integers() | st.text(max_size=3), lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner))
CONTAINER = st.fixed_dictionaries(
    {"image": NAMES, "cmd": st.lists(NAMES), "environment": st.dictionaries(NAMES, NAMES)}
    | {"settings": st.fixed_dictionaries({"runtime": st.dictionaries(NAMES, JSON, max_size=2)})}
)
DOCUMENTS = st.fixed_dictionaries(
    {"images": st.dictionaries(NAMES, NAMES), "containers": st.dictionaries(NAMES, CONTAINER, max_size=3)}
)


def shuffled(value: Any, source: random.Random) -> Any:
    """Return a JSON value with the keys of all objects in another order."""
    if isinstance(value, dict):
        return {key: shuffled(value[key], source) for key in source.sample(list(value), len(value))}
    return [shuffled(item, source) for item in value] if isinstance(value, list) else value


@settings(max_examples=30)
@given(document=DOCUMENTS, source=st.randoms(use_true_random=False))
def test_order_is_that_of_the_keys_and_changes_no_value(document: dict[str, Any], source: random.Random) -> None:
    first, second = (
        structure(Deployment, each, what="d", strict=True) for each in (document, shuffled(document, source))
    )
    assert first == second == sorted_mappings(second)
    assert dump(sorted_mappings(first)) == dump(sorted_mappings(second))
