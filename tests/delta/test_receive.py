"""The checks of a store before a delta adds a path to it, with a stand-in for Nix."""

import io
from dataclasses import replace
from pathlib import Path

import pytest

from nixoci.delta.closure import Closure
from nixoci.delta.receive import receive_delta
from nixoci.errors import DeltaError
from nixoci.nix_store.registration import RefusedError
from tests.delta.forgery import OTHER_HASH, Forger
from tests.delta.recompress.samples import text, zip_archive
from tests.delta.trees import closure, delta, store_path
from tests.nix_store.fake import Fake

OLD, NEW = store_path("app-1.0", "a"), store_path("app-1.1", "b")


@pytest.fixture
def nix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    return Fake(tmp_path, monkeypatch)


@pytest.fixture
def old(nix: Fake) -> Closure:
    """The base, in the receiver's store."""
    return closure(nix.real, {OLD: {b"file": bytes(50_000)}})


@pytest.fixture
def new(tmp_path: Path) -> Closure:
    sender = tmp_path / "sender"
    sender.mkdir()
    return closure(sender, {NEW: {b"file": bytes(49_999) + b"x"}})


def added(nix: Fake, stream: bytes, *, dry_run: bool = False) -> tuple[str, ...]:
    return receive_delta(io.BytesIO(stream).read, what="the delta", store=nix.store, dry_run=dry_run).added


def names(nix: Fake) -> list[str]:
    return sorted(f"/nix/store/{path.name}" for path in nix.real.iterdir())


def test_a_path_is_registered_if_its_base_is_valid(nix: Fake, old: Closure, new: Closure) -> None:
    nix.know(old.paths[OLD])
    assert added(nix, delta(old, new)[0]) == (NEW,)
    assert [line.split()[:2] for line in nix.log] == [["add", NEW]]


def test_a_missing_base_is_named(nix: Fake, old: Closure, new: Closure) -> None:
    """Its files alone are not enough: Nix does not know what they should be."""
    with pytest.raises(DeltaError, match=f"^{OLD}: .* does not have it"):
        added(nix, delta(old, new)[0])
    assert names(nix) == [OLD]


def test_a_base_with_another_nar_hash_is_named(nix: Fake, old: Closure, new: Closure) -> None:
    nix.know(replace(old.paths[OLD], nar_hash=OTHER_HASH))
    with pytest.raises(DeltaError, match=f"^{OLD}: its narHash is {OTHER_HASH}"):
        added(nix, delta(old, new)[0])
    assert names(nix) == [OLD]


def test_a_valid_path_with_another_nar_hash_is_named(nix: Fake, old: Closure, new: Closure) -> None:
    nix.know(old.paths[OLD], replace(new.paths[NEW], nar_hash=OTHER_HASH))
    with pytest.raises(DeltaError, match=f"^{NEW}: this store has it with narHash {OTHER_HASH}"):
        added(nix, delta(old, new)[0])


def test_a_valid_path_is_not_added_again(nix: Fake, old: Closure, new: Closure) -> None:
    nix.know(old.paths[OLD], new.paths[NEW])
    assert added(nix, delta(old, new)[0]) == ()
    assert nix.log == []


def test_a_dry_run_adds_nothing(nix: Fake, old: Closure, new: Closure) -> None:
    nix.know(old.paths[OLD])
    nix.set(WRITE="")
    assert added(nix, delta(old, new)[0], dry_run=True) == (NEW,)
    assert names(nix) == [OLD]


@pytest.mark.parametrize("change", [{"nar_hash": OTHER_HASH}, {"nar_size": 1 << 20}], ids=["hash", "size"])
def test_a_dry_run_checks_hash_and_size(nix: Fake, change: dict[str, object]) -> None:
    base = closure(nix.real, {OLD: {b"file": b"content"}}).paths[OLD]
    nix.know(base)
    nix.set(WRITE="")
    forger = Forger(base, NEW)
    info = replace(forger.header.paths[0], **change)  # type: ignore[arg-type]
    stream = forger.stream(replace(forger.header, paths=(info,)))
    with pytest.raises(DeltaError, match=f"^{NEW}: rebuilt with narHash .* and 120 bytes, expected ") as caught:
        added(nix, stream, dry_run=True)
    assert f"expected {info.nar_hash} and {info.nar_size};" in str(caught.value)


def test_a_refusal_by_nix_is_explained_if_the_nar_is_wrong(nix: Fake) -> None:
    base = closure(nix.real, {OLD: {b"file": b"content"}}).paths[OLD]
    nix.know(base)
    nix.set(REFUSE=NEW)
    forger = Forger(base, NEW)
    with pytest.raises(RefusedError, match=f"^{NEW}: Nix does not register it: "):
        added(nix, forger.stream())
    info = replace(forger.header.paths[0], nar_hash=OTHER_HASH)
    with pytest.raises(DeltaError, match=f"^{NEW}: rebuilt with narHash "):
        added(nix, forger.stream(replace(forger.header, paths=(info,))))
    assert names(nix) == [OLD]


def test_encoders_are_tried_only_if_nix_refuses_the_path(
    nix: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trying one takes longer than most contents, and Nix hashes the NAR anyway."""
    one, two = (zip_archive({"a": text(seed, 9000)}) for seed in (1, 2))
    old = closure(nix.real, {OLD: {b"a.jar": one}})
    nix.know(old.paths[OLD])
    (tmp_path / "sender").mkdir()
    stream, _ = delta(old, closure(tmp_path / "sender", {NEW: {b"a.jar": two}}))
    monkeypatch.setattr("nixoci.delta.recompress.encoders.fingerprint", lambda *_: "other")
    with monkeypatch.context() as refusing:
        refusing.setenv("REFUSE", NEW)
        with pytest.raises(DeltaError, match=f"^{NEW}: zlib of this machine makes other bytes than "):
            added(nix, stream)
    assert added(nix, stream) == (NEW,)
