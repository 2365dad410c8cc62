"""The paths that Nix would refuse, with a stand-in for `nix`; tests/host has tests with the real one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nixoci.errors import ProcessError, StoreError
from nixoci.nix_store.path import PathInfo
from nixoci.nix_store.trust import check_trust, sign, trusted
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


def test_only_what_nix_calls_signed_is_trusted(nix: Fake, tmp_path: Path) -> None:
    nix.set(TRUST='{"trusted": true}', REQUIRE_SIGS="false")
    assert trusted([FOREIGN, SIGNED, UNSIGNED], folder=tmp_path) == [SIGNED]
    assert trusted([], folder=tmp_path / "missing") == []


def test_a_path_that_nix_cannot_look_at_is_not_trusted(nix: Fake, tmp_path: Path) -> None:
    """It says of the others that they are untrusted, and of this one something else."""
    said = f"path '{FOREIGN.path}' is untrusted\nerror: NAR info file 'x.narinfo' is corrupt"
    (nix.folder / "bin/nix").write_text(f'#!/bin/sh\necho "{said}" >&2; exit 6\n', encoding="utf-8")
    with pytest.raises(ProcessError, match="is corrupt"):
        trusted([FOREIGN, SIGNED], folder=tmp_path)


def test_a_nix_that_fails_is_an_error(nix: Fake, tmp_path: Path) -> None:
    (nix.folder / "bin/nix").write_text("#!/bin/sh\necho error: out of order >&2; exit 1\n", encoding="utf-8")
    with pytest.raises(ProcessError, match="out of order"):
        check_trust([UNSIGNED], store=nix.store, folder=tmp_path)


def test_nix_signs(nix: Fake, tmp_path: Path) -> None:
    key, program = tmp_path / "key", nix.folder / "bin/nix"
    name = f"{'a' * 32}.narinfo"
    script = f"""#!/bin/sh
test "$4 $5 $6" = "store sign --store" && test "$8 $9" = "--key-file {key}" || exit 1
echo 'Sig: key-1:abc' >> "${{7#file://}}/{name}"
"""
    program.write_text(script, encoding="utf-8")
    assert sign(UNSIGNED, key, folder=tmp_path) == ("key-1:abc",)


def test_a_file_that_is_no_key_is_named(nix: Fake, tmp_path: Path) -> None:
    (nix.folder / "bin/nix").write_text("#!/bin/sh\necho error: key is corrupt >&2; exit 1\n", encoding="utf-8")
    with pytest.raises(StoreError, match=r"/key: Nix cannot sign with it: key is corrupt; make a key with `nix"):
        sign(UNSIGNED, tmp_path / "key", folder=tmp_path)
