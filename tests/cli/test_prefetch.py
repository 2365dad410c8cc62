"""Prefetching as far as no store is needed; tests/host has tests with a real one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from nixoci.document import dump
from nixoci.errors import NO_ACCESS
from tests.nix_language.locks import image, lock, platform
from tests.units.samples import executable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Result


@pytest.mark.parametrize(("options", "asked"), [([], False), (["--no-nar-hash"], True), (["--dry-run"], True)])
def test_a_lock_that_cannot_be_written_costs_no_download(
    tmp_path: Path, nixoci: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, options: list[str], asked: bool
) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("nix", "nix-store", "skopeo"):
        executable(tmp_path / "bin" / name, f"#!/bin/sh\ntouch {tmp_path}/asked\nexit 1\n")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    locked = lock(web=image("registry.example/web:1", amd64=platform("web", "a")))
    (tmp_path / "nixoci.lock.json").write_text(dump(locked), encoding="utf-8")
    # root may write everywhere
    monkeypatch.setattr(os, "access", lambda _, mode: not mode & os.W_OK)
    done = nixoci("prefetch", "--no-image-paths", *options)
    assert done.code == 1
    assert (tmp_path / "asked").exists() == asked
    assert (done.err == f"error: {tmp_path}: Permission denied; {NO_ACCESS}\n") != asked
