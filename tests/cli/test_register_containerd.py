"""`nixoci register` with a stand-in for containerd; tests/host has the real one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nixoci.engines.containerd import register
from nixoci.engines.containerd.register import Places
from nixoci.engines.roots import EngineRoots
from tests.engines.containerd.engine import Containerd
from tests.engines.containerd.samples import entry, joined

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Result

    Run = Callable[..., Result]

NAME = "docker.io/library/a:1"


@pytest.fixture
def containerd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Containerd:
    made = Containerd(tmp_path / "containerd")
    monkeypatch.setattr("nixoci.engines.containerd.ctr.run", made.run)
    roots = EngineRoots(engine="containerd", gc_roots=tmp_path / "none")
    places = replace(Places(), registered=tmp_path / "state/images.json", roots=roots)
    monkeypatch.setattr(register, "Places", lambda: places)
    return made


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(joined(tmp_path, "joined", [entry(tmp_path, "a", NAME), entry(tmp_path, "n", None)]))


def test_what_changes_is_listed(nixoci: Run, containerd: Containerd, store: str) -> None:
    planned = nixoci("register", "containerd", store, "--namespace", "moby", "--dry-run")
    assert planned.out.splitlines() == ["CHANGE  IMAGE", f"added   {NAME}"]
    assert containerd.namespace("moby").images == {}
    done = nixoci("register", "containerd", store, "--namespace", "moby")
    assert (done.code, done.out) == (0, planned.out)
    nameless, unmounted = done.err.splitlines()
    assert nameless.startswith("warning: image ")
    assert nameless.endswith("not registered, for it has no name; extract it with --reference")
    assert unmounted.startswith("warning: /run/nixoci/images/a-")
    assert unmounted.endswith("no container of it starts before `systemctl restart nixoci-images`")
    again = nixoci("register", "containerd", store, "--namespace", "moby")
    assert (again.out, again.err.splitlines()[0]) == ("", f"{store}: no image changes in the namespace")
    assert set(containerd.namespace("moby").images) == {NAME}


def test_the_shape_follows_the_namespace_unless_it_is_given(nixoci: Run, containerd: Containerd, store: str) -> None:
    for namespace, options, blobs in (("moby", [], 3), ("x", [], 2), ("x1", ["--shape=one-layer"], 3)):
        assert nixoci("register", "containerd", store, "--namespace", namespace, *options).code == 0
        assert len(containerd.namespace(namespace).blobs) == blobs


def test_errors_are_one_line(nixoci: Run, containerd: Containerd, store: str) -> None:
    containerd.refuse = "plugins"
    failed = nixoci("register", "containerd", store)
    assert (failed.code, failed.out) == (1, "")
    assert failed.err == (
        "error: ctr plugins: exit code 1: ctr: refused; start containerd, or name its socket with --address\n"
    )
    for wrong in (["podman", store], ["containerd"], ["containerd", store, "--shape", "round"]):
        assert nixoci("register", *wrong).code == 2


def test_a_client_that_is_missing_is_named(nixoci: Run, store: str) -> None:
    failed = nixoci("register", "containerd", store, "--ctr", "/nowhere/ctr", "--dry-run")
    assert failed.code == 1
    assert failed.err.startswith("error: /nowhere/ctr: program not found; install containerd")
