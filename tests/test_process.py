"""Programs that are written to and read from while they run, and the limit of what they write."""

import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from nixoci import process
from nixoci.errors import ProcessError
from nixoci.process import FileSizeError, HungUpError, converse, end_programs, feed, run
from tests.support.hang import no_hang

ECHO = [sys.executable, "-c", "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read(3)[::-1])"]


def test_a_conversation() -> None:
    with converse(ECHO) as program:
        program.write(b"abc")
        program.flush()
        assert program.read(3) == b"cba"
        with pytest.raises(HungUpError):
            program.read(1)


@pytest.mark.parametrize("code", [0, 3])
def test_a_program_that_hangs_up_has_failed(code: int) -> None:
    end = [sys.executable, "-c", f"import sys; print('enough', file=sys.stderr); sys.exit({code})"]
    with pytest.raises(ProcessError, match=f"exit code {code}: enough") as caught, converse(end) as program:
        program.read(1)
    assert caught.value.stderr == "enough\n"
    with pytest.raises(ProcessError, match=f"exit code {code}: enough"), converse(end) as program:
        program.write(bytes(10 << 20))
    with pytest.raises(ProcessError, match=f"exit code {code}: enough"), feed(end) as pipe:
        pipe.write(bytes(10 << 20))


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("#!/no/such/shell\n", "No such file or directory; is it installed whole?"),
        ("neither a program nor a script", "Exec format error; is it installed whole?"),
    ],
)
def test_a_program_that_cannot_be_started_is_named(tmp_path: Path, script: str, says: str) -> None:
    program = tmp_path / "helper"
    program.write_text(script)
    program.chmod(0o755)
    expected = f"^{re.escape(f'{program}: cannot be started: {says}')}$"
    with pytest.raises(ProcessError, match=expected):
        run([program])
    with pytest.raises(ProcessError, match=expected), feed([program]):
        pass


def test_a_user_without_the_nix_daemon_is_told_the_way() -> None:
    socket = "/nix/var/nix/daemon-socket/socket"
    said = f'error: getting status of "{socket}": Permission denied'
    with pytest.raises(
        ProcessError, match=f"{said}; `nixoci doctor` says how this user gets access to the Nix daemon$"
    ):
        run(["sh", "-c", f"echo '{said}' >&2; exit 1"])


def test_a_program_is_ended_where_the_block_fails() -> None:
    with no_hang(), pytest.raises(ValueError, match="ours"), converse(["sleep", "infinity"]):
        raise ValueError("ours")


def test_a_program_that_starts_while_all_are_ended_is_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal may come to the main thread before another thread has the process that it started."""

    class Starting(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            end_programs()

    monkeypatch.setattr(process, "_ended", threading.Event())
    monkeypatch.setattr(subprocess, "Popen", Starting)
    with no_hang(), pytest.raises(ProcessError, match="exit code -15"):
        run(["sleep", "infinity"])


def test_no_program_starts_once_all_were_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that waited for one would go on to its next, while the main thread waits for it."""
    monkeypatch.setattr(process, "_ended", threading.Event())
    run(["true"])
    end_programs()
    with no_hang(), pytest.raises(ProcessError, match=r"^sleep: not started: nixoci was told to end$"):
        run(["sleep", "infinity"])


@pytest.mark.parametrize("program", [["dd", "if=/dev/zero", "bs=1k"], [sys.executable, "-c", "WRITE"]])
def test_a_file_that_grows_too_large_ends_a_program(program: list[str], tmp_path: Path) -> None:
    """dd dies by the signal, and Python ignores it and gets an error."""
    file = tmp_path / "file"
    write = f"import sys; file = open({str(file)!r}, 'wb', 0)\nwhile True: file.write(bytes(1 << 10))"
    argv = [write if part == "WRITE" else part for part in program] + [f"of={file}"] * (program[0] == "dd")
    begun = ["sh", "-c", 'read -r _ && exec "$@"', "sh", *argv]  # has its input once it has the limit
    with no_hang(), pytest.raises(FileSizeError):
        run(begun, stdin=b"go\n", largest_file=100_000)
    assert file.stat().st_size == 100_000
    with pytest.raises(ProcessError) as caught:
        run(["false"], largest_file=100_000)
    assert not isinstance(caught.value, FileSizeError)


def test_a_program_that_would_try_in_vain_is_given_up() -> None:
    program = "echo printed; echo before >&2; echo 'it tries again' >&2; exec sleep infinity"
    with no_hang(), pytest.raises(ProcessError, match=r"exit code -15: it tries again$") as caught:
        run(["sh", "-c", program], give_up=re.compile(rb"tries"))
    assert caught.value.stderr == "before\nit tries again\n"
    assert run(["sh", "-c", "cat; echo fine >&2"], stdin=b"x" * (1 << 20), give_up=re.compile(rb"tries")) == b"x" * (
        1 << 20
    )


def test_what_cleans_up_runs_after_all_were_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_ended", threading.Event())
    end_programs()
    assert run(["echo", "cleaned"], cleans_up=True) == b"cleaned\n"


def test_a_program_that_ends_with_its_input_is_not_killed(tmp_path: Path) -> None:
    """As `nix-daemon --stdio` does for a user whose requests it passes on."""
    script = 'trap "" TERM; echo; cat > /dev/null; touch "$0"'

    def fail() -> None:
        with converse(["sh", "-c", script, str(tmp_path / "ended")]) as program:
            program.read(1)
            program.write(b"more")
            raise ValueError("ours")

    with no_hang(), pytest.raises(ValueError, match="ours"):
        fail()
    assert (tmp_path / "ended").exists()
