"""The evaluation's documents, runs and page, without a machine."""

from __future__ import annotations

import ast
import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.evaluation.__main__ import main
from benchmarks.evaluation.bandwidth import NAMES as UPDATES
from benchmarks.evaluation.bandwidth import break_even, time_to_ready
from benchmarks.evaluation.images import builder
from benchmarks.evaluation.limits import PROBES
from benchmarks.evaluation.model import Evaluation, Result, Row, read, read_rows, render, render_rows
from benchmarks.evaluation.page import PARTS, render_page
from benchmarks.evaluation.parts import Lab, Step
from benchmarks.evaluation.run import compared, kept
from benchmarks.evaluation.statistics import noise
from benchmarks.evaluation.storage import NAMES
from benchmarks.evaluation.suite import LIMITS
from benchmarks.evaluation.tables import Shown, commands, table
from tests.support.pages import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FIGURES = ROOT / "docs/evaluation.json"
MACHINE = {"processors": "2 x fast", "memory": "8 GB", "kernel": "6.18"}
TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
ROWS = st.builds(
    Row,
    table=TEXT,
    subject=TEXT,
    variant=TEXT,
    unit=TEXT,
    samples=st.lists(st.integers(-(10**15), 10**15) | st.floats(1e-9, 1e9).map(lambda x: float(f"{x:.6g}"))).map(tuple),
    command=TEXT,
    missing=TEXT,
)
RESULTS = st.builds(
    Result,
    measured=TEXT,
    seconds=st.integers(0, 9999),
    quick=st.booleans(),
    machine=st.dictionaries(TEXT, TEXT),
    rows=st.lists(ROWS, max_size=4).map(tuple),
    before=TEXT,
    moved=st.lists(TEXT, max_size=3).map(tuple),
)


def row(variant: str, *samples: float, subject: str = "open", command: str = "") -> Row:
    return Row(table="t", subject=subject, variant=variant, unit="s", samples=samples, command=command)


def result(*rows: Row) -> Result:
    return Result(measured="2026-11-29 12:00", seconds=5, machine=MACHINE, rows=rows)


@settings(max_examples=30)  # rows have a test of their own
@given(st.dictionaries(TEXT, RESULTS, max_size=3))
def test_a_document_is_read_as_it_was_written(parts: dict[str, Result]) -> None:
    evaluation = Evaluation(parts=parts)
    assert read(render(evaluation), what="it") == evaluation


@given(st.lists(ROWS, max_size=5).map(tuple))
def test_rows_are_read_as_they_were_written(rows: tuple[Row, ...]) -> None:
    assert read_rows(render_rows(rows), what="it") == rows


def test_a_document_has_a_line_for_each_row() -> None:
    text = render(Evaluation(parts={"storage": result(row("a", 1), row("b", 0.25))}))
    assert '{"table": "t", "subject": "open", "variant": "b", "unit": "s", "samples": [0.25]}' in text.splitlines()


def test_a_table_has_ratios_of_pairs_and_says_what_is_within_the_spread() -> None:
    rows = [row("ours", *(2.0, 4.0, 6.0)), row("theirs", *(1.0, 2.0, 3.0)), row("others", *(1.1, 1.9, 3.0))]
    assert table(rows, Shown(unit="ms", scale=1e3, digits=0), base="theirs").splitlines() == [
        "| ms | theirs | ours | others |",
        "| --- | --- | --- | --- |",
        "| open | 2000 ± 1000 | 4000 (2.00, 2.00–2.00) | 1900 (~1, 0.95–1.10) |",  # noqa: RUF001  # ranges
    ]


def test_a_table_leaves_open_what_was_not_measured() -> None:
    rows = [row("theirs", 2.0), row("ours", 1.0), row("ours", 3.0, subject="stat"), replace(row("x"), missing="no x")]
    assert table(rows, Shown(unit="s"), base="theirs").splitlines()[2:] == [
        "| open | 2.0 | 1.0 (0.50) | - |",
        "| stat |  | 3.0 |  |",
    ]


def test_commands_are_escaped_for_their_table() -> None:
    assert "| ours | `a \\| b` |" in commands([row("ours", 1.0, command="a | b")], "`x`")


def test_commands_name_the_rows_or_columns_that_they_measured() -> None:
    by_row = [row(way, 1, 2, subject=each, command=each) for each in ("open", "stat") for way in ("ours", "theirs")]
    assert commands(by_row, "`x`").splitlines()[4:6] == ["| open | `open` |", "| stat | `stat` |"]
    by_column = [replace(each, command=each.variant) for each in by_row]
    assert commands(by_column, "`x`").splitlines()[4:6] == ["| ours | `ours` |", "| theirs | `theirs` |"]
    single = [replace(each, command=f"{each.subject} {each.variant}") for each in by_row]
    assert "| stat, theirs | `stat theirs` |" in commands(single, "`x`")
    together = [replace(each, command="all") for each in by_row]
    assert "| ours; theirs | `all` |" in commands(together, "`x`")
    assert "raw rows: `x`; samples of each figure: 2<" in commands(together, "`x`")


def test_a_step_is_measured_once(tmp_path: Path) -> None:
    calls = []

    def measure(_: Lab) -> Iterator[Row]:
        calls.append(1)
        yield row("ours", 1.5, 2)

    step = Step(name="step", measure=measure)
    assert kept(tmp_path, step, Lab()) == kept(tmp_path, step, Lab()) == (row("ours", 1.5, 2),)
    assert len(calls) == 1


def test_a_step_that_was_interrupted_is_measured_again(tmp_path: Path) -> None:
    def fails(_: Lab) -> Iterator[Row]:
        yield row("ours", 1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept(tmp_path, Step(name="step", measure=fails), Lab())
    again = Step(name="step", measure=lambda _: [row("ours", 2)])
    assert kept(tmp_path, again, Lab()) == (row("ours", 2),)


def test_a_second_run_names_what_moved() -> None:
    before = result(row("ours", 1.0, 1.1), row("theirs", 1.0, 1.1), row("gone", 1))
    now = compared(result(row("ours", 2.0, 2.2), row("theirs", 1.0, 1.2), row("new", 1)), before)
    assert now.before == before.measured
    assert now.moved == ("t, open, ours: 1.05 s to 2.1 (2.00 times)",)


def test_what_moves_by_less_than_the_noise_of_its_table_has_not_moved() -> None:
    noisy = [row(f"noisy {number}", 1.0, 1.3) for number in range(9)]
    before = result(row("ours", 1.0, 1.01), *noisy)
    assert compared(result(row("ours", 1.2, 1.21), *noisy), before).moved == ()
    assert compared(result(row("ours", 3.0, 3.01), *noisy), before).moved == (
        "t, open, ours: 1.005 s to 3.005 (2.99 times)",
    )


def test_the_noise_of_a_table_needs_a_figure_of_several_samples() -> None:
    assert noise([(1.0,), (), (0.0, 1.0)]) == 0
    assert noise([(1.0, 1.0), (5.0,)]) == 0
    assert noise([(100.0, 101.0), (1.0, 1.01)]) == pytest.approx(0.00704, rel=0.01)


@pytest.mark.parametrize("fact", MACHINE)
def test_runs_of_different_machines_are_not_compared(fact: str) -> None:
    other = replace(result(row("ours", 1)), machine=MACHINE | {fact: "other"})
    assert compared(result(row("ours", 2)), other).moved == ()


def test_runs_of_different_length_are_not_compared() -> None:
    assert compared(result(row("ours", 2)), replace(result(row("ours", 1)), quick=True)).before == ""


def test_time_to_ready_is_transfer_and_work() -> None:
    assert time_to_ready(10_000_000, 1.5, 20) == pytest.approx(5.5)


@given(
    delta=st.tuples(st.integers(1, 10**9), st.floats(0, 100)), whole=st.tuples(st.integers(1, 10**9), st.floats(0, 100))
)
def test_at_the_break_even_both_take_the_same_time(delta: tuple[int, float], whole: tuple[int, float]) -> None:
    rate = break_even(delta, whole)
    if rate is None:
        assert delta[1] <= whole[1] or delta[0] >= whole[0]
    else:
        assert time_to_ready(*delta, rate) == pytest.approx(time_to_ready(*whole, rate), rel=1e-6)


def test_an_unknown_part_is_wrong_usage(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["evaluate", "weather"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "weather: not a part; the parts are storage, bandwidth, runtime, limits" in capsys.readouterr().err


def names_of_tests(file: Path) -> set[str]:
    """Return the names of the test functions of a file."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.test)
def test_each_limit_has_its_test(limit: object) -> None:
    file, _, name = getattr(limit, "test", "").partition("::")
    assert name in names_of_tests(ROOT / file)


def test_there_are_many_limits_and_each_is_said_once() -> None:
    said = Counter([(each.about, each.says) for each in LIMITS] + [(each.about, each.says) for each in PROBES])
    assert len(said) >= 40
    assert set(said.values()) == {1}


@pytest.fixture(scope="module")
def measured() -> Evaluation:
    return read(FIGURES.read_text(encoding="utf-8"), what=str(FIGURES))


def test_the_page_is_that_of_its_figures(measured: Evaluation) -> None:
    assert FIGURES.with_suffix(".md").read_text(encoding="utf-8") == render_page(measured)
    assert FIGURES.read_text(encoding="utf-8") == render(measured)


def test_the_page_has_all_parts_of_whole_runs(measured: Evaluation) -> None:
    assert list(measured.parts) == list(PARTS)
    assert not any(each.quick for each in measured.parts.values())
    for name, each in measured.parts.items():
        assert each.rows, name
        assert all(found.samples or found.missing for found in each.rows)
        assert all(found.command for found in each.rows if found.samples)


def test_the_pictures_of_the_page_suit_both_themes() -> None:
    page = FIGURES.with_suffix(".md").read_text(encoding="utf-8")
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+\.svg)\)", page)
    assert pictures == [f"evaluation/{name}.svg" for name in ("storage", "bandwidth", "runtime")]
    for picture in pictures:
        drawn = (FIGURES.parent / picture).read_text(encoding="utf-8")
        assert "prefers-color-scheme: dark" in drawn
        assert "currentColor" in drawn


def test_every_statement_of_the_page_was_true(measured: Evaluation) -> None:
    assert [found.subject for found in measured.parts["limits"].table("probe") if found.samples != (1,)] == []


def test_the_host_has_all_images_before_and_after_their_updates(measured: Evaluation) -> None:
    hosts = list(dict.fromkeys(found.subject for found in measured.parts["storage"].table("host")))
    *alone, updated, collected = hosts
    assert alone == ["1 image", *(f"{number} images" for number in range(2, len(alone) + 1))]
    assert updated == f"{alone[-1]} and their updates"
    assert collected == "the updates, after garbage collection"


def test_a_host_has_enough_images_of_several_builders() -> None:
    assert len(set(NAMES)) == len(NAMES) >= 20
    assert len({builder(name) for name in NAMES}) >= 3


def test_enough_updates_are_sent() -> None:
    assert len(set(UPDATES)) >= 12
