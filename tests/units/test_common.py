from __future__ import annotations

import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nixoci.container.places import unit_secrets
from nixoci.units.common import add_namespaces, make_secrets
from nixoci.units.escape import UnitFile, UnitText
from tests.units.samples import ODD, TOOLS, executable
from tests.units.test_escape import split

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("user", [False, True])
def test_the_lines_of_secrets_reach_systemd_tmpfiles_as_they_are(tmp_path: Path, *, user: bool) -> None:
    folder = tmp_path / ODD
    folder.mkdir()
    program = executable(folder / "systemd-tmpfiles", '#!/bin/sh\nprintf "%s\\n" "$#" "$@"\ncat\n')
    lines = [f"d {unit_secrets('c')} 0700 - - -", f"f^ {unit_secrets('c')}/s 0400 1 2 - s", "*", "$x  \\n"]
    command = make_secrets(replace(TOOLS, sh="sh", systemd_tmpfiles=program), lines, user=user)
    # the words that systemd makes of it, but for its specifiers
    words = [word.replace("%%", "%").replace("$$", "$") for word in split(command)]
    done = subprocess.run(words, check=True, capture_output=True, text=True, cwd=tmp_path)
    options = ["--user", "--create", "-"] if user else ["--create", "-"]
    assert done.stdout.splitlines() == [str(len(options)), *options, *lines]


def test_podman_holds_a_users_namespaces_before_it_runs_a_container(tmp_path: Path) -> None:
    folder = tmp_path / ODD
    folder.mkdir()
    podman = executable(folder / "podman", '#!/bin/sh\nprintf "%s\\n" "$@" > log\n')
    unit = UnitFile("c.container")
    add_namespaces(unit, replace(TOOLS, sh="sh", podman=podman), user=False)
    assert not unit.sections
    add_namespaces(unit, replace(TOOLS, sh="sh", podman=podman), user=True)
    ((key, command),) = unit.sections[UnitText("Service")]
    assert key == "ExecStartPre"
    words = [word.replace("%t", str(tmp_path)).replace("%%", "%").replace("$$", "$") for word in split(command)]
    # as podman writes it: no newline
    file = tmp_path / "libpod/tmp/pause.pid"
    log = tmp_path / "log"

    def starts_it() -> bool:
        log.unlink(missing_ok=True)
        subprocess.run(words, check=True, cwd=tmp_path)
        return log.exists()

    assert starts_it()
    assert log.read_text().split() == ["unshare", "sh", "-c", ":"]
    file.parent.mkdir(parents=True)
    with subprocess.Popen(["sleep", "infinity"]) as process:
        file.write_text(str(process.pid))
        assert not starts_it()
        process.kill()
    assert starts_it()
