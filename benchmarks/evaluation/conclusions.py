"""The first section of the page: advice for a person who must decide, with the figures that it rests on."""

from __future__ import annotations

from statistics import geometric_mean, median
from typing import TYPE_CHECKING

from benchmarks.evaluation import bandwidth, storage
from benchmarks.evaluation.mounts_driver import LAYERS
from benchmarks.evaluation.statistics import ENOUGH, ratio

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.evaluation.model import Evaluation, Result

ADVICE = """\
## What follows

Use images in the Nix store if images are to be part of a machine's closure: pinned, rolled back, collected and sent
with everything else; if updates travel over slow links; or if a host has many images, of builders that share no layers.

Use `podman pull` if a host has few images of one builder, has no Nix, takes images that nobody pinned, or if users of
the machine must not read the files of an image: every file of the Nix store is readable by all.
"""

REUPNIX = (24, 27)
"""The percentage by which reUpNix found files to be smaller than shared layers (LCTES '23)."""


def conclusions(evaluation: Evaluation) -> str:
    """Return the section; a part that was not measured adds nothing."""
    sentences: dict[str, Callable[[Result], list[str]]] = {
        "storage": _storage,
        "bandwidth": _bandwidth,
        "runtime": _runtime,
    }
    found = [
        text for name, each in sentences.items() if name in evaluation.parts for text in each(evaluation.parts[name])
    ]
    return "\n".join([ADVICE, *(f"- {text}" for text in found), ""])


def _storage(result: Result) -> list[str]:
    sizes = {(row.subject, row.variant): row.samples[0] for row in result.table("host") if row.unit == "B"}
    subjects = list(dict.fromkeys(subject for subject, _ in sizes))
    alone, updated, collected = subjects[-3:]

    def over(subject: str, way: str, base: str) -> float:
        return sizes[subject, way] / sizes[subject, base]

    low, high = REUPNIX
    apart = "containers-storage, no base shared"
    shares = {f"{alone} on one base": over(alone, storage.OPTIMISED, storage.STORAGE)}
    shares[updated] = over(updated, storage.OPTIMISED, storage.STORAGE)
    shares[f"{alone} that share no layer"] = over(alone, storage.OPTIMISED, apart)
    listed = ", ".join(f"{percent(share)} for {subject}" for subject, share in shares.items())
    inside = [subject for subject, share in shares.items() if low - 2 <= (1 - share) * 100 <= high + 2]
    holds = f"That holds here for {' and '.join(inside)}" if inside else "No host here is within two percent of that"
    freed = {way: sizes[updated, way] - sizes[collected, way] for way in (storage.STORAGE, storage.OPTIMISED)}
    memory = {
        (row.subject, row.variant): row.samples[0] for row in result.table("memory") if row.subject.endswith("images")
    }
    texts = [
        (
            f"**Storage.** {alone} take {sizes[alone, storage.STORAGE] / 1e6:.0f} MB in containers-storage,"
            f" {sizes[alone, storage.NIX_STORE] / 1e6:.0f} MB in a Nix store as it is, and"
            f" {sizes[alone, storage.OPTIMISED] / 1e6:.0f} MB in an optimised one. Without"
            " `auto-optimise-store`, equal files of images are stored again:"
            f" {over(alone, storage.NIX_STORE, storage.STORAGE):.2f} times as much as containers-storage."
            f" Objects by content, as composefs has them, take {sizes[alone, storage.OBJECTS] / 1e6:.0f} MB, for want"
            " of each image's directories."
        ),
        (
            f"**Against reUpNix.** It published that files take {low} to {high} % less than shared layers. An"
            " optimised store"
            f" takes, against containers-storage: {listed}. {holds}. A base"
            " with its updates is a new layer as a whole, and mostly the same files."
        ),
        (
            "**Garbage collection.** Removing the images from before the updates gives back"
            f" {freed[storage.STORAGE] / 1e6:.0f} MB"
            f" of containers-storage and {freed[storage.OPTIMISED] / 1e6:.0f} MB of the optimised store."
        ),
    ]
    if memory:
        (subject,) = {subject for subject, _ in memory}
        taken = {
            way: memory[subject, way] / 1e6 for way in (storage.STORAGE, apart, storage.NIX_STORE, storage.OPTIMISED)
        }
        texts.append(
            f"**Memory.** The programs and libraries of {subject} take {taken[storage.STORAGE]:.0f} MB of the"
            " page cache from"
            f" layers that share their base, {taken[apart]:.0f} MB from layers that share none,"
            f" {taken[storage.NIX_STORE]:.0f} MB"
            f" from a store as it is and {taken[storage.OPTIMISED]:.0f} MB from an optimised one, in which equal"
            " files of"
            " different images are one file."
        )
    return texts


def percent(share: float) -> str:
    """Return a ratio as the difference to the whole."""
    return f"{abs(1 - share) * 100:.0f} % {'less' if share < 1 else 'more'}"


def _bandwidth(result: Result) -> list[str]:
    pairs: dict[str, dict[str, float]] = {}
    for row in result.table("update"):
        pairs.setdefault(row.subject, {})[row.variant] = median(row.samples)
    base = geometric_mean([pair[bandwidth.PULL] / pair[bandwidth.OURS] for pair in pairs.values()])
    files = geometric_mean([pair[bandwidth.FILES] / pair[bandwidth.OURS] for pair in pairs.values()])
    means = bandwidth.links(result)
    seconds = ", ".join(
        f"{means[rate][bandwidth.OURS]:.1f} s instead of {means[rate][bandwidth.PULL]:.1f} at {rate} Mbit/s"
        for rate in means
    )
    return [
        (
            f"**Bandwidth.** A pull of the changed layers fetches {base:.0f} times the bytes of a delta, and a"
            " client that fetches"
            f" changed files {files:.1f} times (geometric means of {len(pairs)} updates). With the delta made"
            " beforehand an update"
            f" takes {seconds}."
        )
    ]


def measured_by(result: Result) -> list[str]:
    """Return the kinds of work that stand for the rest: warm, and in processor time where that was counted."""
    subjects = list(dict.fromkeys(row.subject for row in result.table("work")))
    counted = [subject for subject in subjects if subject.endswith(", processor")]
    names = {subject.removesuffix(", processor") for subject in counted}
    return [*counted, *(each for each in subjects if each.endswith(", warm") and each[: -len(", warm")] not in names)]


def _runtime(result: Result) -> list[str]:
    rows = {(row.subject, row.variant): row.samples for row in result.table("work") if row.unit == "s"}
    ours = "EROFS over the store"
    texts = []
    for subject in measured_by(result):
        compared = ratio(rows[subject, ours], rows[subject, LAYERS])
        count = len(rows[subject, ours])
        verdict = "within the spread" if compared.holds(1) else f"{compared.value:.2f} times"
        if count < ENOUGH and not compared.holds(1):
            verdict += f" in {count} samples, too few to tell"
        texts.append(f"{subject}: {verdict} ({compared.low:.2f}–{compared.high:.2f})")  # noqa: RUF001  # a range
    return [
        (
            "**Run time.** Real work in an image from the store, with its metadata restored by EROFS, against an"
            " overlay of the"
            f" image's own layers: {'; '.join(texts)}."
        )
    ]
