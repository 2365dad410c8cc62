"""Runs inputs in child processes, and finds what no input may do to nixoci."""

from __future__ import annotations

import hashlib
import io
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from nixoci.errors import NixociError
from tests.fuzz.targets import TARGETS, write_tools

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.fuzz.step import Step

BATCH = 200
CPU_SECONDS = 10
"""Processor time that one step may take."""
SILENT_SECONDS = 120
"""Time after which a child that says nothing hangs where no signal reaches it."""
MEMORY = 512 << 20
"""Bytes that a child may grow by, of which an honest input of this size needs a tenth."""
ADDRESS_SPACE = 4 << 30
_MESSAGE = 4000
"""Characters of an error; a longer one repeats an input."""
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """The input of a number; the same target, seed and number give the same input."""

    target: str
    seed: int
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that an input made nixoci do, and must not."""

    input: Input
    message: str


class HangError(BaseException):
    """A step takes too long; not an Exception, so that nothing handles it."""


def run(inputs: Iterable[Input], *, keep: Path) -> Iterator[Fault | None]:
    """Run inputs, each batch in a child process; yield for each input a fault or None.

    Args:
        inputs: The inputs.
        keep: Gets the folder of each input that has a fault.
    """
    batch: list[Input] = []
    for item in inputs:
        batch.append(item)
        if len(batch) == BATCH:
            yield from _run_batch(batch, keep)
            batch = []
    yield from _run_batch(batch, keep)


def _run_batch(batch: list[Input], keep: Path) -> Iterator[Fault | None]:
    while batch:
        done = 0
        for fault in _child(batch, keep):
            done += 1
            yield fault
        batch = batch[done:]


def _child(batch: list[Input], keep: Path) -> Iterator[Fault | None]:
    """Run inputs in one child; end after the first that it does not survive."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        _work(batch, keep, write)
    os.close(write)
    with os.fdopen(read, "rb", buffering=0) as lines:
        for item in batch:
            if not select.select([lines], [], [], SILENT_SECONDS)[0]:
                os.kill(child, signal.SIGKILL)
                yield Fault(input=item, message=f"it hangs: no sign of life for {SILENT_SECONDS} seconds")
                break
            line = _line(lines)
            if not line:
                yield Fault(input=item, message="the process has died")
                break
            message = json.loads(line)
            yield Fault(input=item, message=message) if message else None
    os.waitpid(child, 0)


def _line(stream: Any) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        byte = stream.read(1)
        if not byte:
            return b""
        line += byte
    return line


def _work(batch: list[Input], keep: Path, report: int) -> None:
    """Run inputs in this process, report on each in a line, and end the process."""
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGPROF, _hang)
        with tempfile.TemporaryDirectory(prefix="nixoci-fuzz-") as name:
            tempfile.tempdir = os.environ["TMPDIR"] = f"{name}/temporary"
            Path(tempfile.tempdir).mkdir()
            sys.dont_write_bytecode = True  # of modules that a step loads first
            watch = _Watch(Path(name))
            sys.addaudithook(watch.see)
            for item in batch:
                found = run_one(item, Path(name), keep, watch)
                os.write(report, json.dumps(found).encode() + b"\n")
    except BaseException:  # noqa: BLE001 - this process has no caller
        traceback.print_exc()
    finally:
        os._exit(0)


def _hang(_number: int, _frame: object) -> None:
    raise HangError


class _Watch:
    """Sees each file that is opened for writing outside of the folder, which the audit events of Python tell."""

    def __init__(self, folder: Path) -> None:
        self._allowed = (str(folder), "/dev/null")
        self.outside: list[str] = []
        self.on = False

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES
        if writes or event in {"os.mkdir", "os.remove", "os.rmdir", "os.truncate"}:
            self._check(arguments[0])
        elif event in {"os.rename", "os.link", "os.symlink"}:
            self._check(arguments[1])

    def _check(self, path: object) -> None:
        text = os.fsdecode(path) if isinstance(path, (str, bytes)) else ""
        if text.startswith("/") and not os.path.normpath(text).startswith(self._allowed):
            self.outside.append(text)


def run_one(item: Input, parent: Path, keep: Path, watch: _Watch) -> str:
    """Run one input; return its fault, or nothing."""
    folder = parent / "a/b/c/work"  # deep, so that what `..` reaches is seen too
    shutil.rmtree(parent / "a", ignore_errors=True)
    folder.mkdir(parents=True)
    os.chdir(folder)
    write_tools(folder)
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        steps = TARGETS[item.target](Random(f"{item.target} {item.seed} {item.number}"), folder)
    grown = _peak()
    worked, fault = False, ""
    for place, step in enumerate(steps):
        before = _listing(parent, [])
        watch.outside, watch.on = [], True
        started = time.monotonic()
        code, error, failure = _run_step(step)
        watch.on = False
        seconds = time.monotonic() - started
        found = failure or _judge(step, code, error, worked=worked)
        after = _listing(parent, step.makes)
        kept = {path: text for path, text in before.items() if path in after or not _made(path, step.makes)}
        if not found and (after.items() - kept.items() or kept.items() - after.items()):
            found = f"files changed: {sorted(set(map(str, after.items() ^ kept.items())))[:5]}"
        if not found and code and (left := [name for name in step.makes if _is_new(folder, name, before)]):
            found = f"it failed and left {left}"
        if not found and watch.outside:
            found = f"it writes outside: {watch.outside[:3]}"
        if not found and _peak() - grown > MEMORY:
            found = f"it took {(_peak() - grown) >> 20} MiB of memory"
        if found:
            fault = f"step {place} (exit code {code}, {seconds:.1f} s): {found}"
            break
        worked = code == 0
    if fault:
        target = keep / f"{item.target}-{item.seed}-{item.number}"
        shutil.rmtree(target, ignore_errors=True)
        with suppress(OSError):
            shutil.copytree(folder, target, symlinks=True)
            (target / "FAULT").write_text(f"{fault}\n", encoding="utf-8", errors="backslashreplace")
    os.chdir(parent)
    return fault


def _run_step(step: Step) -> tuple[int, str, str]:
    """Return the exit code of a step, its text on stderr, and a failure that is no answer."""
    out, error = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    code, failure = 0, ""
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        with redirect_stdout(out), redirect_stderr(error):
            step.run()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else -1
    except NixociError as own:
        code, failure = 1, "" if len(str(own).splitlines()) == 1 else f"an error of some lines: {own!r}"
        error.write(f"error: {' '.join(str(own).splitlines())}\n")
    except HangError:
        code, failure = -1, f"it hangs: {CPU_SECONDS} seconds of processor time\n{traceback.format_exc()}"
    except BaseException:  # noqa: BLE001 - any other one is a fault
        code, failure = -1, traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return code, error.buffer.getvalue().decode("utf-8", "replace"), failure


def _judge(step: Step, code: int, error: str, *, worked: bool) -> str:
    lines = error.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    if code not in {0, 1}:
        return f"an exit code of wrong usage: {error}"
    if any(not line.startswith(("error: ", "warning: ", "run: ")) for line in lines) or len(errors) != code:
        return f"its messages are not lines of their kind: {error[:_MESSAGE]}"
    if any(len(line) > _MESSAGE for line in errors):
        return f"a message of {max(map(len, errors))} characters: {errors[0][:200]}"
    if any("Errno" in line or "object at 0x" in line for line in errors):
        return f"a message in the words of Python: {errors[0]}"
    return f"it fails although the step before it worked: {error}" if step.sure and worked and code else ""


def _listing(parent: Path, makes: Iterable[str]) -> dict[str, str]:
    """Return all files below a folder with digests of their content, but those that a step may make."""
    found = {}
    pending = [parent]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                path = os.path.relpath(entry.path, parent / "a/b/c/work")
                if _made(path, makes):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    found[path] = "directory"
                    pending.append(Path(entry.path))
                elif entry.is_file(follow_symlinks=False) and entry.stat().st_size < 1 << 22:
                    found[path] = hashlib.sha256(Path(entry.path).read_bytes()).hexdigest()[:12]
                else:
                    found[path] = "other"
    return found


def _made(path: str, makes: Iterable[str]) -> bool:
    return any(path == name or path.startswith(f"{name}/") for name in makes)


def _is_new(folder: Path, name: str, before: dict[str, str]) -> bool:
    return os.path.lexists(folder / name) and name not in before


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
