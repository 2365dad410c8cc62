"""Logins from auth files, as containers-auth.json(5) has them."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import TYPE_CHECKING

import pytest

from nixoci.errors import DocumentError, ProcessError
from nixoci.oci.credentials import basic_login
from nixoci.oci.reference import Reference
from tests.support.skopeo import install_program

if TYPE_CHECKING:
    from pathlib import Path

WEB = Reference.parse("registry.example/team/web:1")
HUB = Reference.parse("nginx")


def login(text: str) -> str:
    return b64encode(text.encode()).decode()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("REGISTRY_AUTH_FILE", "XDG_CONFIG_HOME", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def write(file: Path, value: object) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value), encoding="utf-8")
    return file


def auths(**entries: str) -> dict[str, object]:
    named = {name.replace("__", "/").replace("_", "."): text for name, text in entries.items()}
    return {"auths": {name: {"auth": login(text)} for name, text in named.items()}}


@pytest.mark.parametrize(
    ("entries", "found"),
    [
        (auths(registry_example="a:1"), "a:1"),
        (auths(registry_example="a:1", registry_example__team="b:2"), "b:2"),
        (auths(registry_example__team__web="c:3", registry_example__team="b:2"), "c:3"),
        (auths(registry_example__te="a:1"), None),
        ({"auths": {"registry.example": {"auth": "no login"}, "registry.exampl": {}}}, None),
        ({"auths": {"registry.example": {"auth": login("without a colon")}}}, None),
        ({"auths": ["registry.example"], "credHelpers": 1}, None),
        ([], None),
    ],
)
def test_the_longest_name_counts(tmp_path: Path, entries: object, found: str | None) -> None:
    file = write(tmp_path / "auth.json", entries)
    assert basic_login(WEB, authfile=file) == (None if found is None else f"Basic {login(found)}")


def test_docker_hub_has_a_name_of_its_own(tmp_path: Path) -> None:
    file = write(tmp_path / "auth.json", {"auths": {"https://index.docker.io/v1/": {"auth": login("a:1")}}})
    assert basic_login(HUB, authfile=file) == f"Basic {login('a:1')}"
    assert basic_login(WEB, authfile=file) is None


def test_the_files_of_podman_come_before_that_of_docker(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert basic_login(WEB) is None
    for number, name in enumerate((".docker/config.json", ".config/containers/auth.json", "run/containers/auth.json")):
        write(home / name, auths(registry_example=f"user:{number}"))
        assert basic_login(WEB) == f"Basic {login(f'user:{number}')}"
    write(home / "named.json", auths())
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(home / "named.json"))
    assert basic_login(WEB) is None


def test_a_file_that_is_not_json(tmp_path: Path) -> None:
    (tmp_path / "auth.json").write_text("{", encoding="utf-8")
    with pytest.raises(DocumentError, match=f"^{tmp_path}/auth.json: not valid JSON"):
        basic_login(WEB, authfile=tmp_path / "auth.json")


HELPER = """#!/bin/sh
read -r name <&0 || true
[ "$1 $name" = "get registry.example" ] || exit 1
{body}
"""


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("""echo '{"ServerURL": "x", "Username": "me", "Secret": "pass:word"}'""", "me:pass:word"),
        ("""echo '{"Username": "<token>", "Secret": "an identity token"}'""", None),
        ("echo 'credentials not found in native keychain'; exit 1", None),
        ("echo 'credentials not found in native keychain'; echo 'gpg: warning' >&2; exit 1", None),
        ("echo 'credentials not found' >&2; exit 1", None),
    ],
)
def test_a_credential_helper_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, found: str | None
) -> None:
    install_program(monkeypatch, tmp_path, "docker-credential-vault", HELPER.format(body=body))
    file = write(tmp_path / "auth.json", {"credHelpers": {"registry.example": "vault"}})
    assert basic_login(WEB, authfile=file) == (None if found is None else f"Basic {login(found)}")


def test_a_helper_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_program(monkeypatch, tmp_path, "docker-credential-vault", HELPER.format(body="echo locked >&2; exit 1"))
    file = write(tmp_path / "auth.json", {"credHelpers": {"registry.example": "vault", "registry.example/x": "../x"}})
    with pytest.raises(ProcessError, match=r"docker-credential-vault.*locked"):
        basic_login(WEB, authfile=file)
    install_program(
        monkeypatch, tmp_path, "docker-credential-vault", HELPER.format(body="echo vault is locked; exit 1")
    )
    with pytest.raises(ProcessError, match=r"^docker-credential-vault: vault is locked$"):
        basic_login(WEB, authfile=file)
    install_program(monkeypatch, tmp_path, "docker-credential-vault", "#!/no/such/shell\n")
    with pytest.raises(ProcessError, match=r"^docker-credential-vault: cannot be started: No such file or directory; "):
        basic_login(WEB, authfile=file)
    install_program(monkeypatch, tmp_path, "docker-credential-vault", HELPER.format(body="echo '{}'"))
    with pytest.raises(DocumentError, match=r"^docker-credential-vault: its answer has no Username"):
        basic_login(WEB, authfile=file)
