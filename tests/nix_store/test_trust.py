"""The paths that Nix would refuse, with a stand-in for `nix`; tests/host has tests with the real one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nixoci.errors import ProcessError, StoreError
from nixoci.nix_store.path import PathInfo
from nixoci.nix_store.trust import check_trust
from tests.nix_store.fake import Fake

if TYPE_CHECKING:
    from pathlib import Path

DIGITS = "1xmr8jicvzszfzpz46g37mlpvbzjl2wpwvl2b05psipssyp1sm8h"
SRI = "sha256-EFUdrtf6Rn0LWIJufrmg8q99aT3jGfLvd1//zaJEufY="
UNSIGNED = PathInfo(path=f"/nix/store/{'a' * 32}-unsigned", nar_hash=SRI, nar_size=120)
SIGNED = replace(UNSIGNED, path=f"/nix/store/{'b' * 32}-signed", signatures=("trusted-1:signature",))
FOREIGN = replace(UNSIGNED, path=f"/nix/store/{'c' * 32}-foreign", signatures=("foreign-1:signature",))
ADDRESSED = replace(UNSIGNED, path=f"/nix/store/{'d' * 32}-file", content_address=f"fixed:r:sha256:{DIGITS}")


@pytest.fixture
def nix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    fake = Fake(tmp_path, monkeypatch)
    fake.set(TRUST='{"trusted": false}')
    return fake


def test_signed_paths_and_content_addresses_need_no_trust(nix: Fake, tmp_path: Path) -> None:
    check_trust([SIGNED, ADDRESSED], store=nix.store, folder=tmp_path)


@pytest.mark.parametrize("old", ["", "1"])
def test_a_path_that_no_trusted_key_has_signed_is_named(nix: Fake, tmp_path: Path, old: str) -> None:
    nix.set(OLD=old)
    with pytest.raises(StoreError) as caught:
        check_trust([SIGNED, FOREIGN, ADDRESSED, UNSIGNED], store=nix.store, folder=tmp_path)
    assert str(caught.value) == (
        f"{FOREIGN.path} and 1 more: Nix would not register it: no trusted key has signed it; receive it as root or as"
        " one of nix.conf's trusted-users, or sign it with a trusted key"
    )


@pytest.mark.parametrize("trust", ['{"trusted": true}', '{"trusted": 1}', '{"trusted": null}', "{}"])
def test_a_user_whom_nix_trusts_or_might_trust_is_not_refused(nix: Fake, tmp_path: Path, trust: str) -> None:
    nix.set(TRUST=trust)
    check_trust([UNSIGNED], store=nix.store, folder=tmp_path)


def test_nix_can_be_told_to_ask_for_no_signatures(nix: Fake, tmp_path: Path) -> None:
    nix.set(REQUIRE_SIGS="false")
    check_trust([UNSIGNED], store=nix.store, folder=tmp_path)


def test_a_nix_that_fails_is_an_error(nix: Fake, tmp_path: Path) -> None:
    (nix.folder / "bin/nix").write_text("#!/bin/sh\necho error: out of order >&2; exit 1\n", encoding="utf-8")
    with pytest.raises(ProcessError, match="out of order"):
        check_trust([UNSIGNED], store=nix.store, folder=tmp_path)
