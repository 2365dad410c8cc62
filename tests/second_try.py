"""Run pytest, and tests of real programs that failed beside others once more: python -m tests.second_try ARGUMENT...

Four workers share the processors, while tests wait for systemd, disks and containers. A few that failed in tests/host
may have met that, so these run again, alone. A run in which they pass then passes, and names them at its end: each is a
race to find, in the test or in what it tests. Any other failure is one at the first try.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

MOST = 4
"""Failures at most that get a second try; more of them have a common cause."""
_FAILED = 1
_ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


def main(arguments: Sequence[str]) -> int:
    """Run pytest with these arguments, once or twice, and return its exit code."""
    with TemporaryDirectory() as cache:
        pytest = [sys.executable, "-m", "pytest", "-o", f"cache_dir={cache}", *arguments]
        code = _run(pytest)
        if code != _FAILED or not (failed := _failures(Path(cache))):
            return code
        _say(f"{len(failed)} failed beside others; again, alone:", failed)
        code = _run([*pytest, "-n", "0", "--last-failed"])
        if code == 0:
            _say("failed beside others, passed alone; find the race:", failed)
        return code


def _run(command: Sequence[str]) -> int:
    """Run pytest and return its exit code. It gets what would end this process, and ends with it however that ends."""
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in _ENDING}
    try:
        # in a group of its own, so that a Ctrl-C comes once: a second one would cut what it ends short
        with subprocess.Popen(["setpriv", "--pdeathsig=KILL", *command], process_group=0) as pytest:

            def pass_on(number: int, _frame: object = None) -> None:
                with suppress(ProcessLookupError):
                    os.killpg(pytest.pid, number)

            for ending in _ENDING:
                signal.signal(ending, pass_on)
            for number in came:
                pass_on(number)
            code = pytest.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


def _failures(cache: Path) -> list[str]:
    """Return the tests that failed if they get a second try, or else none."""
    try:
        failed = sorted(json.loads((cache / "v/cache/lastfailed").read_bytes()))
    except FileNotFoundError:
        return []
    return failed if len(failed) <= MOST and all(re.match("tests/host/.*::", test) for test in failed) else []


def _say(what: str, tests: Sequence[str]) -> None:
    sys.stdout.write("\n  ".join([f"\n{what}", *tests]) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
