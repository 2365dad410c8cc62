from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nixoci.errors import BlobError
from nixoci.oci.fetch import fetch_blob
from tests.nix_language.locks import digest

if TYPE_CHECKING:
    from pathlib import Path

BLOB = digest("layer")


def oras(tmp_path: Path, script: str) -> str:
    program = tmp_path / "oras"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(("manifest", "kind"), [(False, "blob"), (True, "manifest")])
def test_oras_is_asked_for_the_digest(tmp_path: Path, manifest: bool, kind: str) -> None:
    program = oras(tmp_path, 'echo "$@" > "$4"')
    dest = tmp_path / "out"
    fetch_blob(BLOB, dest, image="web", repository="host/path", manifest=manifest, oras=program)
    assert dest.read_text(encoding="utf-8") == f"{kind} fetch --output {dest} host/path@{BLOB}\n"


@pytest.mark.parametrize(
    ("repository", "plain"),
    [
        ("127.0.0.1:5000/web", True),
        ("localhost/web", True),
        ("[::1]:5000/web", True),
        ("127.example.org/web", False),
        ("localhost.example.org/web", False),
        ("docker.io/library/localhost/web", False),
    ],
)
def test_only_loopback_speaks_plain_http(tmp_path: Path, repository: str, plain: bool) -> None:
    program = oras(tmp_path, 'echo "$@" > "$4"')
    fetch_blob(BLOB, tmp_path / "out", image="web", repository=repository, manifest=False, oras=program)
    assert ("--plain-http" in (tmp_path / "out").read_text(encoding="utf-8")) == plain


def test_a_failure_says_what_oras_said_and_the_way_out(tmp_path: Path) -> None:
    program = oras(tmp_path, "echo 'Error: 401 unauthorized' >&2; exit 1")
    with pytest.raises(BlobError) as caught:
        fetch_blob(BLOB, tmp_path / "out", image="web", repository="host/path", manifest=False, oras=program)
    text = str(caught.value)
    assert text.startswith(f"image web: blob host/path@{BLOB} cannot be fetched: ")
    assert "Error: 401 unauthorized; if the registry wants a login" in text
    assert text.endswith("run `nixoci prefetch web`")


def test_local_files_are_for_prefetch(tmp_path: Path) -> None:
    with pytest.raises(BlobError) as caught:
        fetch_blob(BLOB, tmp_path / "out", image="web", repository=None, manifest=False)
    assert str(caught.value) == (
        f"image web: blob {BLOB}: pinned from local files, which a Nix build cannot read; run `nixoci prefetch web`"
        " where they are"
    )
