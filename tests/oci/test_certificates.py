"""Directories of certificates, as containers-certs.d(5) has them; test_referrers.py connects with them."""

from __future__ import annotations

import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest

from nixoci.errors import BlobError
from nixoci.oci import certificates
from nixoci.oci.certificates import certificate_directory, trust_directory
from nixoci.oci.reference import Reference

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = Reference.parse("registry.example:5000/team/web:1")


def test_the_directory_of_the_user_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(certificates, "_PLACES", (tmp_path / "containers", tmp_path / "docker"))
    assert certificate_directory(IMAGE) is None
    for place in ("docker", "containers", ".config/containers/certs.d"):
        (tmp_path / place / "registry.example").mkdir(parents=True)
        made = tmp_path / place / "registry.example:5000"
        made.mkdir()
        assert certificate_directory(IMAGE) == made


def test_an_encrypted_key_asks_nobody(tmp_path: Path) -> None:
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-passout", "pass:secret", "-subj", "/CN=client"]
    files = ["-keyout", str(tmp_path / "client.key"), "-out", str(tmp_path / "client.cert")]
    subprocess.run([*make, *files], check=True, capture_output=True)
    with pytest.raises(BlobError, match=rf"^{tmp_path}/client.cert: cannot be used: "):
        trust_directory(ssl.create_default_context(), tmp_path)
