import json
import random
from pathlib import Path

import pytest

from nixoci.delta.closure import Closure, closures_from_graphs, closures_from_store, in_dependency_order, kept_paths
from nixoci.errors import DeltaError, StoreError
from nixoci.nix_store.path import PathInfo
from tests.delta.trees import store_path
from tests.nix_store.fake import Fake

NAMES = [store_path(f"p{number}", "a") for number in range(9)]
NAR_HASH = f"sha256-{'A' * 43}="


def info(path: str, *references: str) -> PathInfo:
    return PathInfo(path=path, nar_hash=NAR_HASH, nar_size=120, references=references)


def test_each_path_follows_its_references_and_otherwise_their_names_decide() -> None:
    infos = [
        info(NAMES[0], NAMES[0], NAMES[4]),
        info(NAMES[1]),
        info(NAMES[2], NAMES[1], NAMES[0]),
        info(NAMES[3], NAMES[8]),  # which is not among them
        info(NAMES[4]),
    ]
    random.Random(1).shuffle(infos)
    ordered = [each.path for each in in_dependency_order(infos)]
    assert ordered == [NAMES[1], NAMES[3], NAMES[4], NAMES[0], NAMES[2]]


def test_a_deep_closure_is_sorted_in_no_time() -> None:
    chain = [store_path(f"p{number:05}", "a") for number in range(20_000)]
    infos = [info(path, *chain[number + 1 : number + 2]) for number, path in enumerate(chain)]
    assert [each.path for each in in_dependency_order(infos)] == chain[::-1]


def test_a_cycle_is_refused() -> None:
    with pytest.raises(DeltaError, match="references form a cycle"):
        in_dependency_order([info(NAMES[0], NAMES[1]), info(NAMES[1], NAMES[0]), info(NAMES[2])])


def test_paths_are_kept_or_named_if_they_are_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nix = Fake(tmp_path, monkeypatch)
    old, new = (Closure(roots=(name,), paths={name: info(name)}) for name in NAMES[:2])
    nix.know(*old.paths.values())
    with kept_paths(old, store=nix.store):
        pass
    with (
        pytest.raises(StoreError, match=f"^{NAMES[1]}: was deleted from the store meanwhile; "),
        kept_paths(old, new, store=nix.store),
    ):
        pass


def test_an_empty_path_is_not_the_working_directory() -> None:
    """As that of a variable which is not set."""
    with pytest.raises(StoreError, match=r"^'': not a path of the store /nix/store; "):
        closures_from_store([""])


@pytest.mark.parametrize("given", ["nowhere", "https://cache.example/nar"])
def test_what_is_no_store_path_is_named_as_it_was_given(given: str) -> None:
    with pytest.raises(StoreError, match=f"^{given}: '/.*': not a path of the store /nix/store; "):
        closures_from_store([given])


def test_graphs_of_a_build_are_closures(tmp_path: Path) -> None:
    graph = [
        {"path": NAMES[1], "narHash": NAR_HASH, "narSize": 120, "references": [NAMES[1]]},
        {"path": NAMES[0], "narHash": f"sha256:{'0' * 52}", "narSize": 120, "references": [NAMES[1]], "ca": "x"},
    ]
    (tmp_path / "attrs").write_text(json.dumps({"from": [], "to": graph}), encoding="ascii")
    old, new = closures_from_graphs(tmp_path / "attrs")
    assert (old.roots, old.paths) == ((), {})
    assert new.roots == (NAMES[0],)
    assert new.paths[NAMES[0]].references == (NAMES[1],)
    assert new.paths[NAMES[0]].nar_hash == NAR_HASH


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"from": []}', "does not hold the graphs"),
        ('{"from": [], "to": [{}]}', "not the path information"),
        ('{"from": [], "to": [{"path": "p", "narHash": "no", "narSize": 1, "references": []}]}', "not the path"),
    ],
)
def test_other_graphs_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "attrs").write_text(text, encoding="ascii")
    with pytest.raises(DeltaError, match=message):
        closures_from_graphs(tmp_path / "attrs")
