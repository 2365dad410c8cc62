from __future__ import annotations

import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nixoci.container.places import unit_secrets
from nixoci.units.common import make_secrets
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
