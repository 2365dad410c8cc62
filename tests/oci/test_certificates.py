"""Directories of certificates, as containers-certs.d(5) has them; test_referrers.py connects with them."""

from __future__ import annotations

import socket
import ssl
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from nixoci.errors import BlobError
from nixoci.oci import certificates
from nixoci.oci.certificates import certificate_directory, trust_directory, trusting_context
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


def make_certificate(folder: Path, name: str, *options: str) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-subj", f"/CN={name}", *options]
    files = ["-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.cert")]
    subprocess.run([*command, *files], check=True, capture_output=True)


def test_an_authority_without_a_key_usage_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `openssl req` makes it, and as Nix and skopeo trust it; Python from 3.13 on is stricter."""
    usual = ssl.create_default_context

    def strict(**options: Any) -> ssl.SSLContext:
        context = usual(**options)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)
    make_certificate(tmp_path, "authority", "-nodes")
    issue = ["-CA", str(tmp_path / "authority.cert"), "-CAkey", str(tmp_path / "authority.key")]
    of_server = ["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=CA:FALSE"]
    make_certificate(tmp_path, "localhost", "-nodes", *issue, *of_server)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "localhost.cert", tmp_path / "localhost.key")
    ours, theirs = socket.socketpair()

    def answer() -> bytes:
        with server.wrap_socket(theirs, server_side=True) as connection:
            return connection.recv(2)

    with ours, theirs, ThreadPoolExecutor(1) as thread:
        answered = thread.submit(answer)
        with trusting_context(tmp_path / "authority.cert").wrap_socket(ours, server_hostname="localhost") as connection:
            connection.sendall(b"hi")
            assert answered.result(60) == b"hi"


def test_an_encrypted_key_asks_nobody(tmp_path: Path) -> None:
    make_certificate(tmp_path, "client", "-passout", "pass:secret")
    with pytest.raises(BlobError, match=rf"^{tmp_path}/client.cert: cannot be used: "):
        trust_directory(ssl.create_default_context(), tmp_path)
