"""An update of an image through `nixoci substituter`, beside that from the same binary cache without it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from benchmarks.system_closure import PATHS, build_systems
from tests.host.binary_cache import BinaryCache
from tests.host.filesystem import put_in_memory
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
SYSTEM = f"a system of {PATHS} paths"
ROUNDS, SLOW_ROUNDS = 7, 3
READY = 2.5
"""Seconds after its start until a substituter that nobody asks has nothing to do any more."""
SERVICE = "nixoci-substituter.service"
AT_ONCE = 64
MANY = "for number in $(seq {count}); do curl --silent --show-error --fail --output /dev/null {url} & done; wait"

WAYS = {
    "nix copy": ["nix", "copy", "--from", "{source}", "{path}"],
    "nix-store --realise": ["nix-store", "--realise", "{path}", "--option", "substituters", "{source}"],
}
"""Nix copies one path after another, but substitutes many at a time, as by `nixos-rebuild`."""

LINK_PORT, MBIT, ROUND_TRIP = 8090, 20, 40
LINK = ["python3", "/src/benchmarks/slow_link.py"]


@dataclass(frozen=True)
class Site:
    """A build server with a binary cache, and a machine that updates from it."""

    near: Machine
    far: Far
    cache: BinaryCache


@dataclass(frozen=True)
class Update:
    """A published update; the far machine has the old release."""

    name: str
    new: str
    made: list[str]
    delta: int


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Machine(binds={images_dir(): INSIDE}) as near, BinaryCache(near) as cache, Machine() as machine:
        put_in_memory(machine, "/nix")
        far = Far(machine, near, cache)
        listen = f"{urlsplit(far.upstream).hostname}:{LINK_PORT}"
        link = [*LINK, listen, str(cache.port), str(MBIT), str(ROUND_TRIP)]
        near.run(["systemd-run", "--quiet", "--unit=link", "--collect", *link])
        yield Site(near, far, cache)


@pytest.fixture(scope="module", params=[*NAMES, SYSTEM])
def update(site: Site, images: dict[str, Pair], request: pytest.FixtureRequest) -> Update:
    name: str = request.param
    old, new = build_systems(site.near) if name == SYSTEM else stores(site.near, images[name])
    site.far.give(old)
    site.cache.add(new)
    (published,) = site.cache.publish(old, new)["deltas"]
    there = set(closure(site.near, old))
    made = [path for path in closure(site.near, new) if path not in there]
    return Update(name, new, made, published["deltaSize"])


@pytest.mark.parametrize("way", WAYS)
def test_update(site: Site, update: Update, way: str, report: Callable[[str], None]) -> None:
    taken = measured(site, update, way, site.far.upstream, ROUNDS)
    ours, theirs = taken[1].size, taken[-1].size
    report(
        f"{update.name}, {way}, {len(update.made)} paths: {ours} bytes, {theirs} from the cache, ratio"
        f" {ours / theirs:.4f}; the delta alone {update.delta}"
    )
    show(report, update.name, f"{way}, a link without a limit", taken)


@pytest.mark.parametrize("way", WAYS)
def test_update_over_a_slow_link(site: Site, update: Update, way: str, report: Callable[[str], None]) -> None:
    slow = site.far.upstream.replace(":8080", f":{LINK_PORT}")
    site.far.move(slow)
    try:
        taken = measured(site, update, way, slow, SLOW_ROUNDS)
    finally:
        site.far.move(site.far.upstream)
    show(report, update.name, f"{way}, {MBIT} Mbit/s, {ROUND_TRIP} ms", taken)


def test_memory(site: Site, update: Update, report: Callable[[str], None]) -> None:
    far = site.far
    largest = max(update.made, key=lambda path: int(size_of(site.near, path)))
    far.forget(*reversed(update.made))
    far.machine.run(["systemctl", "restart", SERVICE])
    many = MANY.format(count=AT_ONCE, url=f"{ADDRESS}/rebuilt/{largest[11:43]}.nar")
    far.machine.run(["bash", "-c", many], timeout=900)
    report(f"{update.name}: peak of memory with {AT_ONCE} NARs at once {peak(far.machine)} kB")


@dataclass
class Taken:
    """The seconds of each round, and the bytes of the last one, of an update from one source."""

    seconds: list[float] = field(default_factory=list)
    size: int = 0


def measured(site: Site, update: Update, way: str, upstream: str, rounds: int) -> list[Taken]:
    """Update in turn through a substituter that starts then, through one that runs already, and without it."""
    all_taken = [Taken(), Taken(), Taken()]
    for _ in range(rounds):
        for number, source in enumerate((ADDRESS, ADDRESS, upstream)):
            site.far.forget(*reversed(update.made))
            site.far.machine.run(["systemctl", "restart", SERVICE])  # it keeps what it has rebuilt for a while
            if number > 0:
                site.far.wait()
                time.sleep(READY)
            command = [part.format(source=source, path=update.new) for part in WAYS[way]]
            site.cache.answers()
            begin = time.monotonic()
            site.far.machine.run(command, env={"NIX_REMOTE": "daemon"}, timeout=600)
            all_taken[number].seconds.append(time.monotonic() - begin)
            all_taken[number].size = sum(answer.size for answer in site.cache.answers())
    return all_taken


def show(report: Callable[[str], None], name: str, link: str, all_taken: list[Taken]) -> None:
    *through, without = all_taken
    report(f"{name}, {link}: median seconds {' '.join(f'{median(each.seconds):.2f}' for each in all_taken)}")
    for state, taken in zip(("starts", "runs already"), through, strict=True):
        ratios = [ours / theirs for ours, theirs in zip(taken.seconds, without.seconds, strict=True)]
        rounds = " ".join(f"{ratio:.2f}" for ratio in ratios)
        report(f"  the substituter {state}: ratio of each round {rounds}, median {median(ratios):.2f}")


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
