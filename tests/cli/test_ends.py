"""The ways in which a command ends: stdout that cannot be written, a reader that is gone, SIGTERM, Ctrl-C, SIGHUP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nixoci.document import dump
from nixoci.lock.file import exclusive_access
from nixoci.oci.digest import Digest
from tests.image_store.trees import image_path, small_tree
from tests.nix_language.locks import image as image_of_lock
from tests.nix_language.locks import lock, platform
from tests.support.layout import blob_path, tar_stream, write_layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cli.conftest import Result

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
NIXOCI = [sys.executable, "-m", "nixoci"]


@pytest.fixture
def folder(tmp_path: Path, nixoci: Callable[..., Result]) -> Path:
    write_layout(tmp_path / "web", [tar_stream({"a": b"x" * 2000})], tag="1.0")
    assert nixoci("add", "oci:web:1.0", "--platform", "linux/amd64").code == 0
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [["list"], ["list", "--json"], ["generate"], ["--help"]],
)
def test_a_full_disk_is_one_line(folder: Path, arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*NIXOCI, *arguments], cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60
        )
    errors = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]
    assert errors == ["error: output: No space left on device"]
    assert done.returncode == 1


def test_a_wait_for_the_lock_is_one_line(folder: Path) -> None:
    """It says which file and which process, and the work goes on when that is done."""
    with exclusive_access(folder / "nixoci.lock.json"):
        waiting = subprocess.Popen(
            [*NIXOCI, "remove", "web"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert waiting.stderr is not None
        line = waiting.stderr.readline()
    out, rest = waiting.communicate(timeout=60)
    process = os.getpid()
    assert line == (
        f"warning: nixoci.lock.json: waiting until another nixoci, the process {process}, is done with it\n"
    )
    assert (out.startswith("web: removed"), rest, waiting.returncode) == (True, "", 0)


@pytest.mark.parametrize(
    ("redirection", "arguments", "code", "says"),
    [
        (">&-", "list", 1, "error: output: Bad file descriptor\n"),
        (">&-", "list --json", 1, "error: output: Bad file descriptor\n"),
        (">&-", "generate", 1, "error: output: Bad file descriptor\n"),
        (">&-", "--help", 1, "error: output: Bad file descriptor\n"),
        (">&-", "generate --output default.nix", 0, ""),
        ("2>&-", "verify", 0, ""),
        ("2>&-", "outdated", 0, ""),
        (
            "<&-",
            "list --lock -",
            1,
            "error: standard input: not valid JSON: it is empty\n",
        ),
        ("<&- >&- 2>&-", "generate --output default.nix", 0, ""),
    ],
)
def test_a_standard_stream_that_is_closed(folder: Path, redirection: str, arguments: str, code: int, says: str) -> None:
    command = ["sh", "-c", f'exec "$@" {redirection}', "sh", *NIXOCI, *arguments.split()]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, says)
    if code == 0 and "default.nix" in arguments:
        assert "nixoci" in (folder / "default.nix").read_text(encoding="utf-8")


def test_a_reader_that_is_gone_is_no_error(folder: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*NIXOCI, "list"], cwd=folder, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.stderr == ""


SLOW = {
    "add": "add registry.example/app:1",
    "copy": f"copy --to ssh://host /nix/store/{'a' * 32}-app",
    "doctor": "doctor",
    "gc-roots": "gc-roots --directory roots",
    "image-store": "image-store out image",
    "outdated": "outdated --lock pinned.json",
    "prefetch": "prefetch --lock pinned.json",
    "publish": f"publish --cache cache --from /nix/store/{'a' * 32}-app --to /nix/store/{'b' * 32}-app",
    "receive": "receive",
    "send": f"send --to /nix/store/{'a' * 32}-app --output delta",
    "units": "units deployment.json out --seccomp=unconfined",
    "update": "update --lock pinned.json",
    "verify": "verify --lock pinned.json",
}
"""A command for each verb that runs another program."""


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """A directory in which the commands can run, with slow programs in `bin`."""
    (tmp_path / "bin").mkdir()
    for name in ("mkcomposefs", "nix", "nix-instantiate", "nix-store", "podman", "skopeo", "ssh"):
        program = tmp_path / "bin" / name
        program.write_text('#!/bin/sh\ntouch "$STARTED"\nexec sleep 300\n', encoding="utf-8")
        program.chmod(0o755)
    (tmp_path / "temporary").mkdir()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/nix-cache-info").touch()
    image = image_path(tmp_path / "image", small_tree())
    container = {"image": "i", "backend": "bundle", "networks": ["none"]}
    document = {"images": {"i": str(image.path)}, "containers": {"web": container}}
    (tmp_path / "deployment.json").write_text(json.dumps(document), encoding="utf-8")
    locked = lock(web=image_of_lock("registry.example/app:1", amd64=platform("web", "a")))
    (tmp_path / "pinned.json").write_text(dump(locked), encoding="utf-8")
    return tmp_path


ENDS = {signal.SIGTERM: (143, ""), signal.SIGINT: (130, "error: interrupted\n"), signal.SIGHUP: (129, "")}
"""The exit code and the message of a command that a signal ends."""


@pytest.mark.parametrize(
    ("verb", "number"),
    [
        # Ctrl-C ends the programs too; of the other two, which are the same to a verb, each gets one
        *((verb, signal.SIGINT) for verb in SLOW),
        *zip(SLOW, cycle([signal.SIGTERM, signal.SIGHUP])),
    ],
)
def test_a_signal_leaves_nothing_half_written(slow: Path, verb: str, number: signal.Signals) -> None:
    before = sorted(slow.rglob("*"))
    with started(slow, [*NIXOCI, *SLOW[verb].split()]) as process:
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # a terminal sends Ctrl-C to the programs too
        else:
            process.send_signal(number)
        _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == ENDS[number]
    assert sorted(slow.rglob("*")) == before


def test_an_interrupt_removes_a_half_extracted_image(tmp_path: Path) -> None:
    layer = tar_stream({f"file{number}": os.urandom(100_000) for number in range(30)})
    manifest = write_layout(tmp_path / "layout", [layer], compression=None)
    pipe = blob_path(tmp_path / "layout", Digest.of(layer))
    pipe.unlink()
    os.mkfifo(pipe)
    blobs = [f"--blob=sha256:{file.name}={file}" for file in (tmp_path / "layout/blobs/sha256").iterdir()]
    before = sorted(tmp_path.rglob("*"))
    command = [*NIXOCI, "extract", f"blobs:{manifest}", "out", *blobs]
    with subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as process:
        with pipe.open("wb") as writer:
            writer.write(layer[: len(layer) // 2])
            writer.flush()
            assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".out.nixoci-")]
            process.send_signal(signal.SIGINT)
            wait_until(lambda: ignores(process, signal.SIGINT))  # it has seen it; the end of the pipe comes after that
        _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (130, "error: interrupted\n")
    assert sorted(tmp_path.rglob("*")) == before


def test_the_copy_of_standard_input_that_a_killed_command_left_goes_with_the_next(tmp_path: Path) -> None:
    (temporary := tmp_path / "temporary").mkdir()
    command = [*NIXOCI, "extract", "docker-archive:-", str(tmp_path / "out")]
    env = ENVIRONMENT | {"TMPDIR": str(temporary)}
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE) as process:
        wait_until(lambda: any(temporary.glob("*/*")))
        process.kill()
    assert list(temporary.iterdir())
    assert subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 1
    assert list(temporary.iterdir()) == []


SIGNAL_THAT_DOES_NOT_WAKE = """
import signal, threading
from nixoci.cli.signals import signals_end_the_work
never = threading.Lock()
never.acquire()
def interrupt():
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)  # noted for the main thread, which sleeps on
with signals_end_the_work():
    threading.Timer(0.5, interrupt).start()
    never.acquire()
"""


def test_a_signal_is_seen_by_a_main_thread_that_it_did_not_wake() -> None:
    """As one that comes after the main thread's last step before it waits for another thread."""
    command = [sys.executable, "-c", SIGNAL_THAT_DOES_NOT_WAKE]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (143, "")


SIGNAL_IN_A_CALLBACK = """
import os, signal, time
from nixoci.cli.signals import signals_end_the_work
class Finalized:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
with signals_end_the_work():
    Finalized()
    time.sleep(60)
print("not ended")
"""


def test_a_signal_is_seen_though_it_came_in_a_callback() -> None:
    """Python drops what a finalizer raises, and a handler that runs there."""
    command = [sys.executable, "-c", SIGNAL_IN_A_CALLBACK]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "")


DROPPED_SIGNAL = """
import os, signal, nixoci.cli
from nixoci.cli import lock
from nixoci.process import run
def work(*_):
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except SystemExit:
        pass
    run(["true"])
lock.read_lock_from = work
nixoci.cli.main(["list"])
"""


def test_a_failure_since_a_signal_is_not_told(tmp_path: Path) -> None:
    """As of a program that was not started any more, where a library dropped what the handler raised."""
    command = [sys.executable, "-c", DROPPED_SIGNAL]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "error: interrupted\n")


INTERRUPTED_IMPORT = """
import os, runpy, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
runpy.run_module("nixoci", run_name="__main__")
"""


def test_an_interrupt_before_the_command_has_begun_is_no_traceback() -> None:
    command = [sys.executable, "-c", INTERRUPTED_IMPORT]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_an_interrupt_that_is_ignored_stays_ignored(slow: Path) -> None:
    (slow / "bin/mkcomposefs").write_text('#!/bin/sh\ntouch "$STARTED"\nsleep 1\ncp "$2" "$3"\n', encoding="utf-8")
    command = [*NIXOCI, *SLOW["image-store"].split()]
    with started(slow, ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command]) as process:
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=60) == 0
    assert (slow / "out").is_dir()


@contextmanager
def started(folder: Path, command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Run a command for the block, which begins once the command runs a slow program."""
    file = folder / "started"
    where = {
        **ENVIRONMENT,
        "PATH": f"{folder}/bin:{os.environ['PATH']}",
        "STARTED": str(file),
        "TMPDIR": str(folder / "temporary"),
    }
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=folder, env=where, stdin=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        try:
            wait_until(file.exists)
            file.unlink()
            yield process
        finally:
            process.kill()


def ignores(process: subprocess.Popen[str], number: signal.Signals) -> bool:
    """Return whether a process ignores a signal (proc_pid_status(5), SigIgn)."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    (mask,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigIgn:"))
    return bool(int(mask, 16) >> (number - 1) & 1)


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_a_name_that_is_not_utf8_is_used_or_refused_in_one_line(tmp_path: Path, locale: str) -> None:
    odd = os.fsdecode(b"b\xff")
    image_path(tmp_path / odd, small_tree())
    (tmp_path / f"l{odd}").mkdir()
    write_layout(tmp_path / "web", [tar_stream({"a": b"x"})], tag="t")

    def run(*arguments: str) -> str:
        env = os.environ | {"LC_ALL": locale}
        done = subprocess.run([*NIXOCI, *arguments], cwd=tmp_path, capture_output=True, check=False, env=env)
        text = done.stderr.decode()
        assert done.returncode == (1 if text else 0)
        assert text.count("\n") == done.returncode
        return text

    refused = r"source 'oci:lb\udcff:t': its name is not UTF-8, as lock files and image.json are; rename it"
    assert run("add", f"oci:l{odd}:t") == run("extract", f"oci:l{odd}:t", "out") == f"error: {refused}\n"
    assert run("extract", "oci:web:t", f"out-{odd}", "--json") == ""
    assert run("image-store", f"st-{odd}", odd, "--no-erofs", "--json") == ""
    drop_in = run("image-store", f"with-{odd}", odd, "--no-erofs", "--drop-in", "drop-in")
    refused = r"with-b\udcff: not UTF-8, as podman's configuration is; choose another path"
    assert drop_in == f"error: {tmp_path}/{refused}\n"
    assert not (tmp_path / f"with-{odd}").exists()
    (tmp_path / "c.json").write_text('{"networks": ["none"]}')
    bundle = run("bundle", odd, "bundle", "--container=c.json", "--seccomp=unconfined")
    assert bundle == "error: images.container: half a surrogate pair, which is not text; remove it\n"
    assert not (tmp_path / "bundle").exists()
