"""An update of an image through `nixoci substituter`, beside that from the same binary cache without it."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

import pytest

from tests.host.binary_cache import BinaryCache
from tests.host.images import INSIDE, images_dir
from tests.host.locks import locked, write_lock
from tests.host.machine import Machine
from tests.host.registry import Registry
from tests.host.test_nix import build
from tests.host.test_substituter import ADDRESS, Far, closure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.host.images import Pair

NAMES = ("nginx", "postgres")
ROUNDS = 5
SERVICE = "nixoci-substituter.service"
AT_ONCE = 64
MANY = "for number in $(seq {count}); do curl --silent --show-error --fail --output /dev/null {url} & done; wait"


@pytest.fixture(scope="module")
def machines() -> Iterator[tuple[Machine, Far, BinaryCache]]:
    """Boot a build server with a binary cache, and a machine that updates from it over a link without a limit."""
    with Machine(binds={images_dir(): INSIDE}) as near, BinaryCache(near) as cache, Machine() as machine:
        yield near, Far(machine, near, cache), cache


@pytest.mark.parametrize("name", NAMES)
def test_update(
    machines: tuple[Machine, Far, BinaryCache], images: dict[str, Pair], report: Callable[[str], None], name: str
) -> None:
    near, far, cache = machines
    old, new = stores(near, images[name])
    far.give(old)
    cache.add(new)
    (published,) = cache.publish(old, new)["deltas"]
    made = [path for path in closure(near, new) if path not in closure(near, old)]
    taken: dict[str, list[float]] = {ADDRESS: [], far.upstream: []}
    sizes = {}
    for _ in range(ROUNDS):
        for source, seconds in taken.items():
            far.forget(*reversed(made))
            far.machine.run(["systemctl", "restart", SERVICE])
            begin = time.monotonic()
            far.machine.run(["nix", "copy", "--from", source, new], user="alice", timeout=600)
            seconds.append(time.monotonic() - begin)
            sizes[source] = sum(answer.size for answer in cache.answers())
    largest = max(made, key=lambda path: int(size_of(near, path)))
    far.forget(*reversed(made))
    far.machine.run(["systemctl", "restart", SERVICE])
    many = MANY.format(count=AT_ONCE, url=f"{ADDRESS}/rebuilt/{largest[11:43]}.nar")
    far.machine.run(["bash", "-c", many], timeout=900)
    ratios = [ours / theirs for ours, theirs in zip(*taken.values(), strict=True)]
    report(
        f"{name}: {sizes[ADDRESS]} bytes, {sizes[far.upstream]} from the cache, ratio"
        f" {sizes[ADDRESS] / sizes[far.upstream]:.4f}; the delta alone {published['deltaSize']}"
    )
    report(
        f"{name}: median seconds {' and '.join(f'{median(each):.2f}' for each in taken.values())}, ratio of each round"
        f" {' '.join(f'{ratio:.2f}' for ratio in ratios)}"
    )
    report(f"{name}: peak of memory with {AT_ONCE} NARs at once {peak(far.machine)} kB")


def stores(near: Machine, pair: Pair) -> list[str]:
    """Build the image store of an image before and after its update."""
    built = []
    with Registry(near) as registry:
        for version in (pair.old, pair.new):
            folder = f"/root/{version.name}-{version.tag}"
            write_lock(near, folder, {version.name: locked(version, registry.push(version))})
            built += build(near, folder, "imageStore")
    return built


def size_of(machine: Machine, path: str) -> str:
    return machine.run(["nix-store", "--query", "--size", path]).stdout


def peak(machine: Machine) -> str:
    pid = machine.run(["systemctl", "show", "--property=MainPID", "--value", SERVICE]).stdout.strip()
    return machine.run(["grep", "VmHWM", f"/proc/{pid}/status"]).stdout.split()[1]
