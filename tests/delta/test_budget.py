import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nixoci.delta.budget import MemoryBudget


@given(st.lists(st.integers(min_value=0, max_value=15), max_size=12))
@settings(deadline=None, max_examples=20)
def test_all_that_runs_is_within_the_budget(sizes: list[int]) -> None:
    budget, lock = MemoryBudget(10), threading.Lock()
    running: list[int] = []
    seen: list[list[int]] = []

    def work(size: int) -> None:
        with budget.take(size):
            with lock:
                running.append(size)
                seen.append(list(running))
            time.sleep(0.001)
            with lock:
                running.remove(size)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, sizes))
    assert len(seen) == len(sizes)
    assert all(sum(sizes) <= 10 or sum(map(bool, sizes)) == 1 for sizes in seen)


def test_what_fits_runs_at_the_same_time() -> None:
    budget, both = MemoryBudget(10), threading.Barrier(2, timeout=60)

    def work(size: int) -> None:
        with budget.take(size):
            both.wait()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, [5, 5]))


def test_bytes_come_back_after_an_error() -> None:
    budget = MemoryBudget(10)
    with pytest.raises(ValueError, match="damaged"), budget.take(10):
        raise ValueError("damaged")
    with budget.take(10):
        pass
