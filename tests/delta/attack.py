"""Attack a real store, where it is: `python -m tests.delta.attack KIND FOLDER [STORE] [DELTA...]`.

Each stream goes through the command's own entry, in this process. Prints, as JSON, how many streams there were, the
most memory in bytes, and each stream that was not refused as it should be or left something behind.
"""

import io
import json
import os
import re
import resource
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nixoci.cli import main
from nixoci.nix_store.path import STORE_DIR, PathInfo
from nixoci.nix_store.serve import serve
from tests.delta.forgery import Forger, damaged, forgeries

if TYPE_CHECKING:
    from collections.abc import Iterator

OTHER = f"{STORE_DIR}/{'c' * 32}-other"
GOAL = f"{STORE_DIR}/{'b' * 32}-app-1.1"
ONE_LINE = re.compile(r"error: [^\n]{10,1500}\n")


def attack(kind: str, folder: Path, store: str, deltas: list[str]) -> None:
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "temporary")
    streams: Iterator[tuple[str, bytes]]
    if kind == "damaged":
        streams = damaged([Path(file).read_bytes() for file in deltas], 1000, seed=4)
    else:
        streams = forgeries(Forger(_base(os.environ["BASE"], store), GOAL))
    count, wrong = 0, []
    before = state(store, folder)
    for name, stream in streams:
        count += 1
        code, out, error = receive(stream, folder / "stream", store)
        after = state(store, folder)
        if code != 1 or out or not ONE_LINE.fullmatch(error) or after != before:
            left = [sorted(set(map(str, b)) ^ set(map(str, a))) for a, b in zip(before, after, strict=True)]
            wrong.append({"stream": name, "code": code, "out": out[:500], "error": error[-2000:], "left": left})
            for path in (OTHER, GOAL):
                subprocess.run(
                    ["nix-store", *(["--store", store] if store else []), "--delete", path],
                    check=False,
                    capture_output=True,
                )
            before = state(store, folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    json.dump({"count": count, "peak": peak, "wrong": wrong}, sys.stdout)


def receive(stream: bytes, file: Path, store: str) -> tuple[object, str, str]:
    """Return exit code, standard output and standard error of `nixoci receive`."""
    file.write_bytes(stream)
    code: object = "no exit"
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as error:
        try:
            main(["receive", str(file), *(["--store", store] if store else [])])
        except SystemExit as end:
            code = end.code or 0
        except BaseException as failure:  # noqa: BLE001 - any traceback is a finding
            code = repr(failure)
    return code, out.getvalue(), error.getvalue()


def state(store: str, folder: Path) -> tuple[Any, ...]:
    """Return the state that an attack must not change: the database, the store's folder, temporary files, /etc."""
    root = Path(store or "/")
    with sqlite3.connect(f"file:{root / 'nix/var/nix/db/db.sqlite'}?mode=ro", uri=True) as database:
        rows = [database.execute(f"select * from {table}").fetchall() for table in ("ValidPaths", "Refs")]  # noqa: S608
    database.close()
    folders = (f"{root}{STORE_DIR}", "/tmp", "/var/tmp", folder / "temporary", "/etc", "/nix", "/")  # noqa: S108
    return *rows, *(sorted(os.listdir(place)) for place in folders)


def _base(path: str, store: str) -> PathInfo:
    with serve(store=store or None) as nix:
        return nix.path_infos([path])[path]


if __name__ == "__main__":
    attack(sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4:])
