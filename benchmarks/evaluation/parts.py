"""Parts of the evaluation, their steps, and the machine that they measure on."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

from tests.host.filesystem import put_in_memory
from tests.host.images import INSIDE, images_dir
from tests.host.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from types import TracebackType

    from benchmarks.evaluation.model import Result, Row


class Lab:
    """The test host of one part, booted when a step first asks for it, as a context manager."""

    def __init__(
        self,
        *,
        quick: bool = False,
        rounds: int | None = None,
        binds: Callable[[], dict[Path, str]] = dict,
        in_memory: tuple[str, ...] = (),
    ) -> None:
        self.quick = quick
        self._binds = binds
        self._in_memory = in_memory
        self._rounds = rounds
        self._running = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    def rounds(self, whole: int, quick: int) -> int:
        """Return the number of samples of a figure: that of a whole or a quick run, unless the user chose one."""
        return self._rounds or (quick if self.quick else whole)

    @cached_property
    def machine(self) -> Machine:
        machine = self._running.enter_context(Machine(binds={images_dir(): INSIDE, **self._binds()}))
        if self._in_memory:
            put_in_memory(machine, *self._in_memory)
        return machine


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A piece of a part that is measured as a whole, or not at all.

    Attributes:
        name: Its name within the part.
        measure: Measures its rows.
    """

    name: str
    measure: Callable[[Lab], Iterable[Row]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A part of the evaluation.

    Attributes:
        name: The name on the command line.
        title: The heading of its section.
        sources: The files that measure it; a change of one makes the steps of an interrupted run invalid.
        steps: Returns its steps, for a quick run or for a whole one.
        report: Returns the text of its section, in Markdown.
        binds: Returns folders and where its machine sees them.
        in_memory: Folders of its machine that lie in memory.
    """

    name: str
    title: str
    sources: tuple[Path, ...]
    steps: Callable[[bool], list[Step]]
    report: Callable[[Result], str]
    binds: Callable[[], dict[Path, str]] = dict
    in_memory: tuple[str, ...] = ()
