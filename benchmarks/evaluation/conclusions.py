"""The first section of the page: advice for a person who must decide, with the figures that it rests on."""

from __future__ import annotations

from statistics import geometric_mean, median
from typing import TYPE_CHECKING

from benchmarks.evaluation import bandwidth, limits, links, storage
from benchmarks.evaluation.mounts_driver import EROFS, LAYERS, TWO_OVERLAYS
from benchmarks.evaluation.statements import Outcome
from benchmarks.evaluation.statistics import ENOUGH, ratio
from benchmarks.evaluation.suite import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.evaluation.model import Evaluation, Result
    from benchmarks.evaluation.statistics import Estimate

ADVICE = """\
## What follows

Use images in the Nix store if images are to be part of a machine's closure: pinned, rolled back, collected and sent
with everything else; if updates travel over slow links; or if a host has many images, of builders that share no layers.

Use `podman pull` if images share their layers and the Nix store keeps equal files more than once, since each image then
takes the space of its whole tree; if a host has no Nix, takes images that nobody pinned, or needs what fails below; or
if users of the machine must not read the files of an image: every file of the Nix store is readable by all.
"""

REUPNIX = (24, 27)
"""The percentage by which reUpNix found files to be smaller than shared layers (LCTES '23)."""


def conclusions(evaluation: Evaluation) -> str:
    """Return the section; a part that was not measured adds nothing."""
    sentences: dict[str, Callable[[Result], list[str]]] = {
        "storage": _storage,
        "bandwidth": _bandwidth,
        "runtime": _runtime,
        "limits": _limits,
    }
    found = [
        text for name, each in sentences.items() if name in evaluation.parts for text in each(evaluation.parts[name])
    ]
    return "\n".join([ADVICE, *(f"- {text}" for text in found), ""])


def _storage(result: Result) -> list[str]:
    sizes = {(row.subject, row.variant): row.samples[0] for row in result.table("host") if row.unit == "B"}
    subjects = list(dict.fromkeys(subject for subject, _ in sizes))
    alone, updated, collected = subjects[-3:]
    shared = storage.on_one_base(result) or int(alone.split()[0])
    one_base = "1 image" if shared == 1 else f"{shared} images"

    def over(subject: str, way: str, base: str) -> float:
        return sizes[subject, way] / sizes[subject, base]

    low, high = REUPNIX
    apart = "containers-storage, no base shared"
    shares = {f"{one_base} on one base": over(one_base, storage.OPTIMISED, storage.STORAGE)}
    if alone != one_base:
        shares[f"{alone} of several builders"] = over(alone, storage.OPTIMISED, storage.STORAGE)
    shares[updated] = over(updated, storage.OPTIMISED, storage.STORAGE)
    shares[f"{alone} that share no layer"] = over(alone, storage.OPTIMISED, apart)
    listed = ", ".join(f"{percent(share)} for {subject}" for subject, share in shares.items())
    inside = [subject for subject, share in shares.items() if low - 2 <= (1 - share) * 100 <= high + 2]
    holds = (
        f"That holds here for {' and '.join(inside)}"
        if inside
        else "None of these is within two percentage points of that"
    )
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
            f" Objects by content, as composefs has them, take {sizes[alone, storage.OBJECTS] / 1e6:.0f} MB: they have"
            " no directories for each image, and no metadata as text."
        ),
        (
            f"**Against reUpNix.** It published that files take {low} to {high} % less than shared layers. An"
            " optimised store"
            f" takes, against containers-storage: {listed}. {holds}. An"
            " updated base is a new layer as a whole, and most of its files are the same."
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
            f" page cache from layers, as the images share them, {taken[apart]:.0f} MB from layers that share none,"
            f" {taken[storage.NIX_STORE]:.0f} MB from a store as it is and {taken[storage.OPTIMISED]:.0f} MB from an"
            " optimised one, in which equal files of different images are one file:"
            f" {percent(taken[storage.OPTIMISED] / taken[storage.STORAGE])} than from layers. Memory that each"
            " container has for itself is not counted."
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
    means = bandwidth.ready(result)
    seconds = ", ".join(
        f"{means[rate][bandwidth.OURS]:.1f} s instead of {means[rate][bandwidth.PULL]:.1f} at {rate} Mbit/s"
        for rate in means
    )
    rates = bandwidth.rates_above(result, bandwidth.OURS, bandwidth.COPY)
    texts = [
        (
            f"**Bandwidth.** A pull of the changed layers fetches {base:.0f} times the bytes of a delta, and a"
            " client that fetches"
            f" changed files {files:.1f} times (geometric means of {len(pairs)} updates). With the delta made"
            " beforehand, bytes and processor seconds of an update"
            f" add up to {seconds}."
        )
    ]
    if rates:
        texts[0] += (
            f" Above {_range(rates, digits=0)} Mbit/s, by image, `nix copy` of whole paths is faster than"
            " a delta, whose receiver works more; `--effort fast` has higher rates."
        )
    return texts + _installs(result)


def _installs(result: Result) -> list[str]:
    """Say by how much first installs differ from a pull, and whether links take the time that is computed."""
    found = {row.key[1:]: row.samples for row in result.table("install")}
    subjects = list(dict.fromkeys(subject for subject, _, _ in found))
    texts = []
    if subjects:
        compared = ", ".join(
            f"{way} {_range([_ratio(found, name, way, 'B').value for name in subjects])} times the bytes and"
            f" {_all_seconds({name: _ratio(found, name, way, 's') for name in subjects})}"
            for way in (links.REGISTRY, links.COPY, links.DELTA, links.FAST)
            if (subjects[0], way, "s") in found
        )
        count = min(len(samples) for (_, _, unit), samples in found.items() if unit == "s")
        texts.append(
            f"**First install.** Against `podman pull`, without a limit of the link, in {_samples(count)} of each,"
            f" {', '.join(subjects)} take by {compared}."
        )
    if over := links.computed(result):
        ratios = [measured / computed for computed, measured in over.values()]
        rates = sorted({float(subject.split()[-2]) for subject, _ in over})
        texts.append(
            f"**Computed and measured.** Over links of {_range(rates, digits=0)} Mbit/s, installs and updates until a"
            f" container has run took {_range(ratios)} times what bytes and work add up to."
        )
    return texts


def _ratio(found: Mapping[tuple[str, str, str], Sequence[float]], name: str, way: str, unit: str) -> Estimate:
    return ratio(found[name, way, unit], found[name, links.PULL, unit])


def _all_seconds(compared: Mapping[str, Estimate]) -> str:
    """Say by how much the seconds of each image differ; a difference within the spread is called so."""
    inside = [name for name, each in compared.items() if each.holds(1)]
    if not inside:
        return f"{_range([each.value for each in compared.values()])} times the seconds"
    low, high = min(each.low for each in compared.values()), max(each.high for each in compared.values())
    if len(inside) == len(compared):
        return f"seconds within the spread ({low:.2f}–{high:.2f})"  # noqa: RUF001  # a range
    others = [f"{each.value:.2f} times for {name}" for name, each in compared.items() if name not in inside]
    return f"seconds within the spread for {' and '.join(inside)}, {' and '.join(others)}"


def _samples(count: int) -> str:
    return "1 sample" if count == 1 else f"{count} samples"


def _range(values: Sequence[float], *, digits: int = 2) -> str:
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return low if low == high else f"{low} to {high}"


def measured_by(result: Result) -> list[str]:
    """Return the kinds of work that stand for the rest: warm, and in processor time where that was counted."""
    subjects = list(dict.fromkeys(row.subject for row in result.table("work")))
    counted = [subject for subject in subjects if subject.endswith(", processor")]
    names = {subject.removesuffix(", processor") for subject in counted}
    return [*counted, *(each for each in subjects if each.endswith(", warm") and each[: -len(", warm")] not in names)]


def _runtime(result: Result) -> list[str]:
    rows = {(row.subject, row.variant): row.samples for row in result.table("work") if row.unit == "s"}
    texts = {}
    for subject in dict.fromkeys(subject for subject, _ in rows):
        compared = ratio(rows[subject, EROFS], rows[subject, LAYERS])
        count = len(rows[subject, EROFS])
        verdict = "within the spread" if compared.holds(1) else f"{compared.value:.2f} times"
        if count < ENOUGH and not compared.holds(1):
            verdict += f" in {count} samples, too few to tell"
        texts[subject] = f"{subject}: {verdict} ({compared.low:.2f}–{compared.high:.2f})"  # noqa: RUF001  # a range
    chosen = [texts[subject] for subject in measured_by(result)]
    cold = [text for subject, text in texts.items() if subject.endswith(", cold") and "within the spread" not in text]
    with_cold = "; ".join(text.replace(", cold:", "") for text in cold) or "all within the spread"
    return [
        (
            "**Run time.** Real work in an image from the store, with its metadata restored by EROFS, against an"
            " overlay of the"
            f" image's own layers: {'; '.join(chosen)}. With a cold cache: {with_cold}."
        ),
        *_operations(result),
        *_start(result),
    ]


def _operations(result: Result) -> list[str]:
    """Name the operations that take another time in a writable container of the store, in each way to mount it."""
    rows = {(row.subject, row.variant): row.samples for row in result.table("operations")}
    texts = []
    for way, whose in ((EROFS, "podman"), (TWO_OVERLAYS, "units of systemd and bundles")):
        found: dict[str, list[str]] = {"warm": [], "cold": []}
        for subject in sorted({subject for subject, variant in rows if variant == LAYERS}):
            operation, state, writable = subject.split(", ")
            if writable == "writable" and (subject, way) in rows:
                compared = ratio(rows[subject, way], rows[subject, LAYERS])
                if not compared.holds(1):
                    found[state].append(f"{operation} {compared.value:.2f} times")
        differ = ", and ".join(f"{state} {', '.join(texts)}" for state, texts in found.items() if texts)
        if differ:
            texts.append(f"in a container of {whose}, {differ}{_few(rows, way)}")
    if not texts:
        return []
    return [
        (
            "**File operations.** Against the image's layers, with a writable layer, these differ by more than the"
            f" spread, with a warm and with a cold cache: {'; '.join(texts)}."
        )
    ]


def _start(result: Result) -> list[str]:
    """Say how long a container of each backend takes until it is ready."""
    starts = {row.variant: row.samples for row in result.table("start")}
    if "podman" not in starts:
        return []
    base = starts.pop("podman")
    others = (
        f"{way} {1e3 * median(samples):.0f} ms ({ratio(samples, base).value:.2f} times)"
        for way, samples in starts.items()
    )
    return [
        (
            "**Start.** From the start of a unit until its container is ready, podman takes"
            f" {1e3 * median(base):.0f} ms, {', '.join(others)}."
        )
    ]


def _few(rows: Mapping[tuple[str, str], Sequence[float]], way: str) -> str:
    """Return the words that belong to differences that too few samples show."""
    count = min(len(samples) for (_, variant), samples in rows.items() if variant == way)
    return "" if count >= ENOUGH else f" in {count} samples, too few to tell"


def _limits(result: Result) -> list[str]:
    """Count the statements, and name what fails."""
    probes = {(probe.about, probe.says): probe.outcome for probe in limits.PROBES}
    tried = {row.subject: probes.get((row.subject, row.variant)) for row in result.table("probe")}
    outcomes = [*tried.values(), *(limit.outcome for limit in LIMITS)]
    count = {outcome: outcomes.count(outcome) for outcome in Outcome}
    failing = [about for about, outcome in tried.items() if outcome is Outcome.FAILS]
    return [
        (
            f"**Limits.** Of {len(outcomes)} statements, {count[Outcome.SAME]} say that something works as with an"
            f" image that the engine stored, {count[Outcome.DIFFERENT]} that it differs, {count[Outcome.FAILS]} that it"
            f" fails. With podman these fail: {'; '.join(failing)}. Tools that read a tree without its"
            " metadata see all files as root's."
        )
    ]
