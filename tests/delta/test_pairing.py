import pytest

from nixoci.delta.pairing import OldNames, choose_predecessors, package_name
from nixoci.nix_store.path import PathInfo
from tests.delta.trees import store_path


@pytest.mark.parametrize(
    ("name", "package"),
    [("nginx-1.27", "nginx"), ("nginx", "nginx"), ("python3.12-pip-24", "python3.12-pip"), ("gtk+3-3.24-dev", "gtk+3")],
)
def test_the_name_of_a_package_has_no_version(name: str, package: str) -> None:
    assert package_name(store_path(name, "a")) == package


@pytest.mark.parametrize(
    ("old", "found"),
    [
        (["app-1.27", "app-1.26", "app"], ["app-1.27"]),
        (["app-1.26", "app-2.1", "app-1.26-dev"], ["app-1.26", "app-2.1"]),
        (["app-1", "app-1.26-dev", "apple-1.27"], ["app-1", "app-1.26-dev"]),
        (["apple-1.27"], []),
    ],
)
def test_older_versions_are_found_by_name(old: list[str], found: list[str]) -> None:
    paths = [store_path(name, "a") for name in old]
    assert OldNames(paths).versions(store_path("app-1.27", "b")) == sorted(store_path(name, "a") for name in found)


def test_each_path_has_a_predecessor_of_its_own() -> None:
    def info(letter: str, size: int) -> PathInfo:
        return PathInfo(path=store_path("app", letter), nar_hash="", nar_size=size)

    old = {each.path: each for each in (info("a", 100), info("b", 200), info("c", 300))}
    kept = {store_path("app", "c")}
    new = [info("x", 290), info("y", 290), info("z", 290)]
    names = OldNames(old)
    chosen = choose_predecessors(new, old, names, kept)
    assert chosen == [store_path("app", letter) for letter in "bac"]
    other = PathInfo(path=store_path("other", "x"), nar_hash="", nar_size=1)
    assert choose_predecessors([other], old, names, kept) == [None]
