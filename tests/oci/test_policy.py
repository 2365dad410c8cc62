from __future__ import annotations

import json
import pwd
from typing import TYPE_CHECKING, Any

import pytest

from nixoci.oci.policy import may_reject

if TYPE_CHECKING:
    from pathlib import Path

ANYTHING = [{"type": "insecureAcceptAnything"}]
REJECT = [{"type": "reject"}]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({"default": ANYTHING}, False),
        ({"default": ANYTHING, "transports": {"docker-daemon": {"": REJECT}}}, False),
        ({"default": REJECT}, True),
        ({"default": ANYTHING, "transports": {"docker": {"quay.io": REJECT}}}, True),
        ({"default": ANYTHING, "transports": {"docker": {"quay.io": ANYTHING}}}, False),
        ({"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/key"}]}, True),
        ({}, True),
        ([], True),
        ({"default": ANYTHING, "transports": []}, True),
    ],
)
def test_what_a_policy_may_refuse(tmp_path: Path, policy: Any, expected: bool) -> None:
    (tmp_path / "policy.json").write_text(json.dumps(policy), encoding="utf-8")
    assert may_reject(tmp_path, tmp_path / "policy.json") is expected


def test_a_policy_that_is_no_json_is_for_skopeo_to_refuse(tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_text("{", encoding="utf-8")
    assert may_reject(tmp_path, tmp_path / "policy.json")


def test_no_policy_asks_nothing(tmp_path: Path) -> None:
    assert not may_reject(tmp_path, tmp_path / "policy.json")


def test_the_users_policy_comes_first(tmp_path: Path) -> None:
    user = tmp_path / ".config/containers"
    user.mkdir(parents=True)
    (user / "policy.json").write_text(json.dumps({"default": ANYTHING}), encoding="utf-8")
    (tmp_path / "policy.json").write_text(json.dumps({"default": REJECT}), encoding="utf-8")
    assert not may_reject(tmp_path, tmp_path / "policy.json")


def test_a_policy_that_cannot_be_read_is_left_to_skopeo(tmp_path: Path) -> None:
    system = tmp_path / "policy.json"
    system.mkdir()
    assert may_reject(tmp_path, system)
    system.rmdir()
    system.write_text("[" * 100_000)
    assert may_reject(tmp_path, system)


def test_a_user_without_a_home_has_the_systems_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = next(uid for uid in range(60_000, 70_000) if uid not in {entry.pw_uid for entry in pwd.getpwall()})
    monkeypatch.setattr("os.getuid", lambda: unknown)
    monkeypatch.delenv("HOME", raising=False)
    (tmp_path / "policy.json").write_text(json.dumps({"default": REJECT}))
    assert may_reject(system=tmp_path / "policy.json")
    assert not may_reject(system=tmp_path / "none")
