"""The process that decodes beside its reader."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from select import select

import pytest

from nixoci.delta.codecs.elf import ELF, refine
from nixoci.delta.codecs.hdiff import patch
from nixoci.delta.codecs.model import OldData
from nixoci.delta.codecs.registry import decode
from nixoci.delta.codecs.source import Held
from nixoci.delta.effort import Effort
from nixoci.delta.worker import DecodeWorker
from nixoci.errors import DeltaError
from tests.delta.elf.linker import X86_64, changed_program, link, random_program
from tests.delta.trees import closure, delta, rebuild, store_path
from tests.support.process import is_running

LIMIT = 64 << 20


@pytest.fixture
def worker() -> Iterator[DecodeWorker]:
    with DecodeWorker() as made:
        yield made


def patched(seed: int, count: int = 60) -> tuple[bytes, bytes, bytes]:
    """Return an old program, a new one, and the payload between them."""
    rng = random.Random(seed)
    program = random_program(rng, X86_64, count)
    old, new = link(program), link(changed_program(rng, program))
    payload = refine(Held(old), Held(new), patch(old, new))
    assert payload is not None
    return old, new, payload


def pid(worker: DecodeWorker) -> int:
    assert worker._process is not None
    return worker._process._program.pid


def failure(payload: bytes, old: bytes, limit: int) -> str:
    with pytest.raises(DeltaError) as raised:
        decode(ELF.number, payload, old, limit)
    return str(raised.value)


def test_contents_are_those_that_this_process_decodes(worker: DecodeWorker) -> None:
    for seed in range(3):
        old, new, payload = patched(seed)
        assert worker.decode(payload, OldData(old), LIMIT) == new == decode(ELF.number, payload, old, LIMIT)


def test_threads_share_it(worker: DecodeWorker) -> None:
    made = [patched(seed) for seed in range(4)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda one: worker.decode(one[2], OldData(one[0]), LIMIT), made * 8))
    assert found == [new for _, new, _ in made] * 8


def test_errors_are_those_of_decoding_here_and_it_goes_on(worker: DecodeWorker) -> None:
    old, new, payload = patched(1)
    worker.start()
    first = pid(worker)
    for damaged, base, limit in (
        (payload[:-1], old, LIMIT),
        (payload, old[:-1], LIMIT),
        (payload, b"", LIMIT),
        (b"", old, LIMIT),
        (payload, old, 9),
    ):
        with pytest.raises(DeltaError) as raised:
            worker.decode(damaged, OldData(base), limit)
        assert str(raised.value) == failure(damaged, base, limit)
    assert worker.decode(payload, OldData(old), LIMIT) == new
    assert pid(worker) == first


def test_the_memory_that_it_may_have_is_bounded() -> None:
    old, new, payload = patched(2)
    large = old + bytes(60 << 20)
    with DecodeWorker(memory=128 << 20) as worker:
        with pytest.raises(DeltaError, match="a patch does not apply"):
            worker.decode(payload, OldData(large), LIMIT)
        first = pid(worker)
        assert worker.decode(payload, OldData(old), LIMIT) == new
        assert pid(worker) == first


def test_one_that_is_killed_fails_what_it_decodes_and_another_takes_its_place(worker: DecodeWorker) -> None:
    old, new, payload = patched(3)
    assert worker.decode(payload, OldData(old), LIMIT) == new
    first = pid(worker)
    os.kill(first, signal.SIGSTOP)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(worker.decode, payload, OldData(old), LIMIT) for _ in range(4)]
        time.sleep(0.05)  # some are sent, some may not be
        os.kill(first, signal.SIGKILL)
        for each in waiting:
            error = each.exception(timeout=60)
            if error is None:
                assert each.result() == new  # it came after the end, to the next process
            else:
                assert str(error) == "a patch does not apply (the process that decodes it ended by SIGKILL)"
    assert worker.decode(payload, OldData(old), LIMIT) == new
    assert pid(worker) != first


@pytest.mark.parametrize("used", [False, True])
def test_one_that_is_killed_while_it_waits_fails_nothing(worker: DecodeWorker, used: bool) -> None:
    """A system that is short of memory may end it, as it waits for hours for the next update."""
    old, new, payload = patched(3)
    worker.start()
    if used:
        assert worker.decode(payload, OldData(old), LIMIT) == new
    else:
        stdout = worker._process._program.stdout if worker._process is not None else None
        assert stdout is not None
        assert select([stdout], [], [], 60)[0], "it is ready"
    first = pid(worker)
    os.kill(first, signal.SIGKILL)
    while is_running(first):
        time.sleep(0.01)
    assert worker.decode(payload, OldData(old), LIMIT) == new
    assert pid(worker) != first


def test_ctrl_c_is_for_the_process_that_reads(worker: DecodeWorker) -> None:
    old, new, payload = patched(4)
    assert worker.decode(payload, OldData(old), LIMIT) == new
    first = pid(worker)
    os.kill(first, signal.SIGINT)
    assert worker.decode(payload, OldData(old), LIMIT) == new
    assert pid(worker) == first


@pytest.mark.parametrize("program", ["", "/nowhere/python", "/bin/false"])
def test_where_none_can_be_started_contents_are_decoded_here(
    worker: DecodeWorker, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setattr(sys, "executable", program)
    old, new, payload = patched(5)
    worker.start()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: worker.decode(payload, OldData(old), LIMIT), range(4)))
    assert found == [new] * 4


def test_after_the_end_none_is_started(worker: DecodeWorker) -> None:
    old, new, payload = patched(6)
    worker.start()
    process = pid(worker)
    worker.close()
    assert not is_running(process)
    assert worker.decode(payload, OldData(old), LIMIT) == new
    assert worker._process is None


ORPHAN = """
import os, signal, sys
from nixoci.delta.worker import DecodeWorker
worker = DecodeWorker()
worker.start()
assert worker._process.ready()
print(worker._process._program.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_none_outlives_a_reader_that_is_killed() -> None:
    done = subprocess.run([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    orphan = int(done.stdout)
    deadline = time.monotonic() + 60
    while is_running(orphan):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_delta_is_rebuilt_with_it(tmp_path: Path) -> None:
    old, new, _ = patched(7, count=200)
    paths = store_path("app-1", "a"), store_path("app-2", "b")
    before = closure(tmp_path, {paths[0]: {b"large": old, b"text": b"one"}})
    after = closure(tmp_path, {paths[1]: {b"large": new, b"text": b"two"}})
    stream, summary = delta(before, after, Effort.DEFAULT)
    assert summary.by["elf"].count == 1
    with DecodeWorker() as worker:
        made = rebuild(stream, tmp_path, tmp_path / "spool", worker=worker)
        assert is_running(pid(worker))
    assert made == rebuild(stream, tmp_path, tmp_path / "spool")
