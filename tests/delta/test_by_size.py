from hypothesis import given
from hypothesis import strategies as st

from nixoci.delta.by_size import BySize

ITEMS = st.lists(st.tuples(st.integers(0, 9), st.text("abc", max_size=3)), unique_by=lambda item: item[1])


@given(ITEMS, st.lists(st.integers(-1, 10)))
def test_the_nearest_one_is_found_until_all_are_removed(items: list[tuple[int, str]], sizes: list[int]) -> None:
    left, found = list(items), BySize(items)
    for size in sizes:
        nearest = min(left, key=lambda item: (abs(item[0] - size), item[1]), default=None)
        assert found.nearest(size) == nearest
        if nearest is not None:
            left.remove(nearest)
            found.remove(nearest)


def test_the_number_of_steps_does_not_grow_with_what_was_removed() -> None:
    count = 1 << 12
    found = BySize((number, str(number)) for number in range(count))
    for number in range(count // 4, count * 3 // 4):
        found.remove((number, str(number)))
    assert found.nearest(count // 2) == (count * 3 // 4, str(count * 3 // 4))
    assert max(map(len, (found._after, found._before))) == count // 2
    # each link leads to the end at once, after it was followed
    assert found._after[count // 2] == count * 3 // 4
    assert found._before[count // 2 - 1] == count // 4 - 1
