"""Figures of the evaluation: rows of samples, the result of a part, and the document that keeps all of them.

`docs/evaluation.json` is this document. The page and the pictures are made from it and nothing else.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field, replace

from nixoci.document import parse


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """The samples of one figure.

    Attributes:
        table: The table that the row belongs to; rows of one table are compared.
        subject: The thing that was measured, for example an image or an operation.
        variant: The way in which it was done.
        unit: `B`, `s`, or the name of what is counted.
        samples: The measured values. Those of the same number in rows that differ in the variant alone were measured
            one after the other.
        command: The command that was measured, as a shell would run it.
        missing: The reason why nothing was measured; then there are no samples.
    """

    table: str
    subject: str
    variant: str
    unit: str
    samples: tuple[float, ...] = ()
    command: str = ""
    missing: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """The values by which the row is found again in another run."""
        return self.table, self.subject, self.variant, self.unit


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """The rows of one part of the evaluation, measured on one machine.

    Attributes:
        measured: The day and time of its end, in UTC.
        seconds: The time that it took, rounded.
        quick: True if it was measured with `--quick`.
        machine: Facts about the machine and its programs, by name.
        rows: The figures.
        before: The day and time of the run that this one was compared with, if there was one on the same machine.
        moved: The figures that differ from that run, in words.
    """

    measured: str
    seconds: int
    quick: bool = False
    machine: dict[str, str]
    rows: tuple[Row, ...]
    before: str = ""
    moved: tuple[str, ...] = ()

    def table(self, name: str) -> list[Row]:
        """Return the rows of a table, in the order in which they were measured."""
        return [row for row in self.rows if row.table == name]


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """The last result of each part."""

    parts: dict[str, Result] = field(default_factory=dict)


def read(text: str, *, what: str) -> Evaluation:
    """Read a document that `render` wrote."""
    found = parse(Evaluation, text, what=what, strict=True)
    return Evaluation(parts={name: _with_tuples(result) for name, result in found.parts.items()})


def _with_tuples(result: Result) -> Result:
    """Return a result whose lists, which JSON has, are tuples."""
    rows = tuple(replace(row, samples=tuple(row.samples)) for row in result.rows)
    return replace(result, rows=rows, moved=tuple(result.moved))


def read_rows(text: str, *, what: str) -> tuple[Row, ...]:
    """Read rows that `render_rows` wrote."""
    rows = (parse(Row, line, what=what, strict=True) for line in text.split("\n") if line)
    return tuple(replace(row, samples=tuple(row.samples)) for row in rows)


def render_rows(rows: tuple[Row, ...]) -> str:
    """Return rows as JSON, one a line."""
    return "".join(f"{json.dumps(_fields(row), ensure_ascii=False)}\n" for row in rows)


def render(evaluation: Evaluation) -> str:
    """Return the document as JSON with one row a line, so that two runs can be compared by eye."""
    parts = [f"{json.dumps(name)}: {_part(result)}" for name, result in evaluation.parts.items()]
    return '{"parts": {\n' + ",\n".join(parts) + "\n}}\n"


def _part(result: Result) -> str:
    head = {name: value for name, value in _fields(result).items() if name != "rows"}
    rows = ",\n".join(json.dumps(_fields(row), ensure_ascii=False) for row in result.rows)
    return f'{json.dumps(head, ensure_ascii=False)[:-1]}, "rows": [\n{rows}\n]}}'


def _fields(of: Row | Result) -> dict[str, object]:
    """Return the fields that are not their default; samples that are no whole numbers have six digits."""
    found = {}
    for each in dataclasses.fields(of):
        value = getattr(of, each.name)
        if each.name == "samples":
            value = tuple(int(sample) if sample == int(sample) else float(f"{sample:.6g}") for sample in value)
        if value != each.default:
            found[each.name] = value
    return found
