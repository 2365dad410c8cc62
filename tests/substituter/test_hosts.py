"""The names of a machine, and addresses in all their forms."""

from __future__ import annotations

import socket

import pytest

from nixoci.errors import StoreError
from nixoci.substituter.hosts import host_name, is_own_host
from nixoci.substituter.server import listen

V6 = "2001:db8::1"


@pytest.mark.parametrize("text", [V6, "2001:DB8:0:0::1", f"[{V6}]", "[2001:db8:0::1]"])
@pytest.mark.parametrize("header", [f"[{V6}]:8642", f"[{V6}]", "[2001:DB8:0::1]:8642"])
def test_an_address_is_a_name_in_any_form(text: str, header: str) -> None:
    assert host_name(text) == V6
    assert is_own_host(header, "10.0.0.1", [host_name(text)])
    assert not is_own_host(header, "10.0.0.1", ["2001:db8::2"])


@pytest.mark.parametrize("header", [f"[{V6}]:8642", "[2001:DB8:0::1]", "[::1]:8642", "[0:0::1]", "localhost:8642"])
def test_the_address_that_is_asked_is_a_name(header: str) -> None:
    assert is_own_host(header, V6)


def test_a_link_has_its_own_addresses() -> None:
    """A client leaves off the name of its interface, which is not that of this machine's."""
    assert is_own_host("[fe80::1]:8642", "fe80::1%eth0")


@pytest.mark.parametrize("text", ["", "[::1", "::1]", "[cache.lan]", "[::g]", "cache.lan:80", "[::1]:80"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(StoreError, match=r"is not the name of a machine; give one without port, such as cache\.lan$"):
        host_name(text)


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:0"])
def test_both_loopback_addresses_are_listened_at(address: str) -> None:
    with listen(address) as listener:
        assert f"[{listener.getsockname()[0]}]:0".replace("[127.0.0.1]", "127.0.0.1") == address


@pytest.mark.parametrize("address", ["127.999.1.1:0", "127.0.0.1.1:0", "[::]:80", "::1:80", "[::2]:80"])
def test_no_other_is(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", None)  # which would ask the network for a name that looks like an address
    with (
        pytest.raises(StoreError, match=r"this machine alone; give 127\.0\.0\.1:PORT or \[::1\]:PORT$"),
        listen(address),
    ):
        pytest.fail("it was taken")


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "[::1]:65536", f"127.0.0.1:{'9' * 5000}"])
def test_a_port_that_there_cannot_be_is_named(address: str) -> None:
    port = address.rpartition(":")[2]
    with (
        pytest.raises(StoreError, match=f": no port {port}; the last one is 65535, and 0 is any that is free$"),
        listen(address),
    ):
        pytest.fail("it was taken")
