"""Values escaped for units come back unchanged from systemd, and from podman's generator and systemd."""

from __future__ import annotations

import random
import re
import shlex
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from nixoci.errors import ContainerError
from nixoci.units.escape import UnitFile, UnitText, command, expressible, literal, quadlet_argument, raw_argument, word
from nixoci.units.settings import FLAGS, LISTS, VALUES, WORDS, add_quadlet_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.host.machine import Machine

FOLDER = "/var/unit-text"
DUMP = """\
#!/usr/bin/python3
import os, sys
arguments = [os.fsencode(argument) for argument in sys.argv[1:]]
name = os.environb.get(b"DUMP_TO")
if not name:
    if arguments[0] != b"run":
        sys.exit()
    name = arguments[arguments.index(b"--name") + 1]
values = [b"=".join(pair) for pair in os.environb.items() if pair[0].startswith(b"V")]
for kind, strings in ((b".arguments", arguments), (b".environment", values)):
    with open(os.path.dirname(os.fsencode(__file__)) + b"/" + name + kind, "wb") as file:
        file.write(b"".join(string + b"\\0" for string in strings))
"""
"""Writes its arguments and environment to $DUMP_TO or, as podman, to a file of the container's name."""

QUADLET = "/usr/libexec/podman/quadlet"
SAMPLES = ["one", "-1", "a b", '"in quotes"', "back\\\\slash", "%n $HOME ${x}", "é"]
"""Values of keys that are passed through as they are."""

SEED = 20240229
BATCHES, EACH = 12, 60
SPECIAL = "\"'\\$%{}; \t\n\r\x01\x1b\x7f#[]=:,*@-+!|~`&<>()é\u00a0\u0085\u2028容🐳aA0nxsu\ufeff\u0301"


def values(batch: int) -> list[str]:
    """Return strings that are hard to escape: short ones of special characters, long ones, and any characters."""
    source = random.Random(SEED + batch)  # noqa: S311 - the same each time
    result = []
    for _ in range(EACH):
        kind, length = source.random(), source.choice([0, 1, 1, 2, 2, 3, 5, 8, 40])
        if kind < 0.7:
            result.append("".join(source.choice(SPECIAL) for _ in range(length)))
        elif kind < 0.8:
            result.append(
                source.choice(["%n", "${HOME}", "$HOME", "\\x41", "\\", "a\\", " x", "x ", ";", "'", '"', "%%"])
            )
        else:
            limit = source.choice([0x7F, 0x7FF, 0xFFFF, sys.maxunicode])
            result.append("".join(chr(source.randint(1, limit)) for _ in range(length)))
    return result


def accepted(batch: int, write: Callable[[str], UnitText]) -> list[str]:
    """Return the values that can be written; the others are refused by name."""
    result = []
    for value in values(batch):
        try:
            write(value)
        except ContainerError as error:
            assert str(error).startswith("option: ")  # noqa: PT017
        else:
            result.append(value)
    assert len(result) > EACH / 3
    return result


def dumped(machine: Machine, name: str, kind: str) -> list[str]:
    content = (machine.root / FOLDER.lstrip("/") / f"{name}.{kind}").read_bytes()
    return [part.decode() for part in content.split(b"\0")[:-1]]


def start(machine: Machine, name: str) -> None:
    machine.run(["systemctl", "daemon-reload"])
    machine.run(["systemctl", "start", f"{name}.service"])


@pytest.fixture(scope="module")
def host(machine: Machine) -> Machine:
    machine.run(["mkdir", "--parents", FOLDER])
    machine.run(["tee", f"{FOLDER}/podman"], input=DUMP)
    machine.run(["chmod", "0755", f"{FOLDER}/podman"])
    return machine


@pytest.mark.parametrize("batch", range(BATCHES))
def test_systemd_gives_back_what_was_escaped_for_it(host: Machine, batch: int) -> None:
    name = f"unit-text-{batch}"
    given = accepted(batch, lambda value: word(expressible("option", value)))
    unit = UnitFile(f"{name}.service")
    unit.add("Service", "Type", literal("oneshot"))
    unit.add("Service", "Environment", literal(f"DUMP_TO={name}"))
    unit.add("Service", "Environment", *(word(f"V{index}={value}") for index, value in enumerate(given)))
    unit.add("Service", "ExecStart", command([f"{FOLDER}/podman", *given]))
    host.run(["tee", f"/run/systemd/system/{unit.name}"], input=unit.render())
    start(host, name)
    assert dumped(host, name, "arguments") == given
    assert sorted(dumped(host, name, "environment")) == sorted(f"V{index}={value}" for index, value in enumerate(given))


@pytest.mark.parametrize("batch", range(BATCHES))
def test_podmans_generator_carries_over_what_was_escaped_for_it(host: Machine, batch: int) -> None:
    name = f"quadlet-text-{batch}"
    words = accepted(batch, lambda value: quadlet_argument("option", value))
    paths = accepted(batch, lambda value: raw_argument("option", value))
    unit = UnitFile(f"{name}.container")
    unit.add("Quadlet", "DefaultDependencies", literal("false"))
    unit.add("Service", "Type", literal("oneshot"))
    for key, value in (("ContainerName", name), ("Image", "image")):
        unit.add("Container", key, literal(value))
    for index, value in enumerate(words):
        unit.add("Container", "Environment", quadlet_argument("option", f"V{index}={value}"))
        unit.add("Container", "PodmanArgs", quadlet_argument("option", f"--label=L{index}={value}"))
    for index, value in enumerate(paths):
        unit.add("Container", "Volume", raw_argument("option", f"/v{index}{value}x:/t"))
    unit.add("Container", "Exec", literal(" ".join(quadlet_argument("option", value) for value in words)))
    sources = f"{FOLDER}/{name}"
    host.run(["mkdir", "--parents", sources])
    host.run(["tee", f"{sources}/{unit.name}"], input=unit.render())
    variables = {"QUADLET_UNIT_DIRS": sources, "PODMAN": f"{FOLDER}/podman"}
    host.run(["/usr/libexec/podman/quadlet", "-no-kmsg-log", "/run/systemd/system"], env=variables)
    start(host, name)
    arguments = dumped(host, name, "arguments")
    assert arguments[arguments.index("image") + 1 :] == words
    before = arguments[: arguments.index("image")]
    following = list(pairwise(before))
    assert {value for option, value in following if option == "--env"} == {
        f"V{index}={value}" for index, value in enumerate(words)
    }
    assert [value for option, value in following if option == "-v"] == [
        f"/v{index}{value}x:/t" for index, value in enumerate(paths)
    ]
    labels = [value.removeprefix("--label=") for value in before if value.startswith("--label=")]
    assert labels == [f"L{index}={value}" for index, value in enumerate(words)]


def commands(host: Machine, files: dict[str, str]) -> dict[str, list[str]]:
    """Return the options of podman in the services that the generator makes, by the name of the Quadlet file."""
    sources, target = f"{FOLDER}/sources", f"{FOLDER}/target"
    host.run(["rm", "--recursive", "--force", sources, target])
    host.run(["mkdir", sources, target])
    for name, text in files.items():
        (host.root / sources.lstrip("/") / name).write_text(text, encoding="utf-8")
    host.run([QUADLET, "-no-kmsg-log", target], env={"QUADLET_UNIT_DIRS": sources})
    found = {}
    for name in files:
        stem, kind = name.split(".")
        service = stem if kind == "container" else f"{stem}-{kind}"
        lines = (host.root / target.lstrip("/") / f"{service}.service").read_text(encoding="utf-8").splitlines()
        (line,) = (line for line in lines if re.match(f"Exec[A-Za-z]+=[^ ]+ ({COMMANDS}) ", line))
        found[name] = [
            part for word in shlex.split(line) for part in (word.split("=", 1) if word[0] == "-" else [word])
        ]
    return found


SECTIONS = {
    "Container": "[Container]\nImage=x\n",
    "Network": "[Network]\n",
    "Pod": "[Pod]\n",
    "Image": "[Image]\nImage=x\n",
    "Artifact": "[Artifact]\nArtifact=x\n",
    "Build": "[Build]\nImageTag=x\nFile=/x\n",
}
COMMANDS = "run|network create|pod create|image pull|artifact pull|build"


@pytest.mark.parametrize("kind", [VALUES, LISTS, FLAGS, WORDS], ids=["values", "lists", "flags", "words"])
def test_keys_are_the_arguments_that_the_generator_makes_of_them(
    host: Machine, kind: dict[str, dict[str, str]]
) -> None:
    values = ["true", "no", "On"] if kind is FLAGS else SAMPLES if kind is not WORDS else ["a=b", "a='b  c' \"d=e\\n\""]
    for section, keys in kind.items():
        raw, ours = {}, {}
        for number, (key, value) in enumerate((key, value) for key in keys for value in values):
            unit = UnitFile("x")
            add_quadlet_settings(unit, "containers.x", section, {key: value})
            name = f"n{number}.{section.lower()}"
            raw[name] = f"{SECTIONS[section]}{key}={value}\n"
            ours[name] = SECTIONS[section] + "".join(
                f"{key}={value}\n" for key, value in unit.sections[literal(section)]
            )
        by_key, by_argument = commands(host, raw), commands(host, ours)
        # only their place is another
        for name, text in raw.items():
            assert sorted(by_key[name]) == sorted(by_argument[name]), (text, ours[name])


def test_lists_and_single_values_are_what_the_generator_reads(host: Machine) -> None:
    cases: list[tuple[str, list[str]]] = [
        ("DNS", ["9.9.9.9", "", "1.1.1.1"]),
        ("Label", ["a=b", "", "c=d"]),
        ("Memory", ["1g", "2g"]),
        ("HostName", ["$NAME"]),
        ("RunInit", ["true", "false"]),
    ]
    raw, ours = {}, {}
    for number, (key, values) in enumerate(cases):
        unit = UnitFile("x")
        add_quadlet_settings(unit, "containers.x", "Container", {key: values})
        lines = "".join(f"{key}={value}\n" for key, value in unit.sections[literal("Container")])
        raw[f"n{number}.container"] = SECTIONS["Container"] + "".join(f"{key}={value}\n" for value in values)
        ours[f"n{number}.container"] = SECTIONS["Container"] + lines
    by_key, by_argument = commands(host, raw), commands(host, ours)
    for name, text in raw.items():
        assert sorted(by_key[name]) == sorted(by_argument[name]), (text, ours[name])


def test_an_escape_that_is_refused_would_be_lost(host: Machine) -> None:
    files = {f"n{key}.container": f"{SECTIONS['Container']}{key}=x=\\?y\n" for key in ("Label", "Environment")}
    words = [word for made in commands(host, files).values() for word in made]
    assert not [word for word in words if word.startswith("x=")]


def test_the_generator_makes_the_same_of_the_same_each_time(host: Machine) -> None:
    files = {}
    for section, start in SECTIONS.items():
        unit = UnitFile("x")
        keys = {key: "1" for kind in (VALUES, LISTS) for key in kind.get(section, {})}
        keys |= dict.fromkeys(FLAGS.get(section, {}), "true") | dict.fromkeys(WORDS.get(section, {}), "a=b")
        add_quadlet_settings(unit, "containers.x", section, keys)
        lines = [f"{key}={value}\n" for key, value in unit.sections[literal(section)]]
        files[f"n.{section.lower()}"] = start + "".join(lines)
    made = [commands(host, files) for _ in range(12)]
    assert all(each == made[0] for each in made)
