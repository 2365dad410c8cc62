"""The table of the delta benchmark, and how a run adds to an earlier one's figures."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.delta_report import Figures, merge, methods, ratios, sizes, table

FIGURES = st.dictionaries(
    st.sampled_from(["nginx", "go", "kernel"]),
    st.lists(
        st.fixed_dictionaries(
            {"method": st.sampled_from(["nixoci", "bsdiff", "xdelta3"]), "size": st.integers(1, 10**9)}
        ),
        unique_by=lambda row: str(row["method"]),
    ),
)


def row(method: str, size: int) -> dict[str, object]:
    return {"method": method, "size": size}


def test_table_has_megabytes_ratios_and_their_geometric_mean() -> None:
    figures = {
        "go": [row("bsdiff", 3_000_000), row("nixoci", 1_500_000)],
        "php": [row("nixoci", 1_000_000), row("bsdiff", 8_000_000)],
    }
    assert table(figures).splitlines() == [
        "| MB (ratio) | nixoci | bsdiff |",
        "| --- | --- | --- |",
        "| go | 1.500 | 3.000 (2.00) |",
        "| php | 1.000 | 8.000 (8.00) |",
        "| mean ratio | 1.00 | 4.00 |",
    ]


def test_a_method_that_was_not_measured_is_left_open() -> None:
    figures: Figures = {
        "go": [row("nixoci", 1_000_000), {"method": "tar-diff", "missing": "tar-diff is not installed"}],
        "php": [row("nixoci", 1_000_000), row("tar-diff", 2_000_000)],
    }
    assert "| go | 1.000 | - |" in table(figures)
    assert ratios(figures, "tar-diff") == [2.0]


def test_means_are_of_the_pairs_that_have_all_methods() -> None:
    figures = {
        "go": [row("nixoci", 1), row("bsdiff", 9)],
        "php": [row("nixoci", 1), row("bsdiff", 2), row("ostree", 3)],
    }
    assert table(figures).splitlines()[-1] == "| mean ratio | 1.00 | 2.00 | 3.00 |"


def test_rows_that_are_no_method_have_no_column() -> None:
    assert methods({"go": [{"method": "what differs", "kinds": {}}, row("nixoci", 1)]}) == ["nixoci"]


def test_a_new_figure_replaces_an_old_one_and_leaves_the_others() -> None:
    before = {"go": [row("nixoci", 5), row("bsdiff", 7)], "php": [row("nixoci", 6)]}
    merged = merge(before, {"go": [row("nixoci", 4)]})
    assert merged == {"go": [row("nixoci", 4), row("bsdiff", 7)], "php": [row("nixoci", 6)]}


@given(before=FIGURES, now=FIGURES)
def test_merged_figures_have_all_pairs_and_methods(
    before: dict[str, list[dict[str, object]]], now: dict[str, list[dict[str, object]]]
) -> None:
    merged = merge(before, now)
    assert merged.keys() == before.keys() | now.keys()
    for pair, rows in merged.items():
        assert sizes(rows) == sizes(before.get(pair, [])) | sizes(now.get(pair, []))
    assert merge(merged, now) == merged
