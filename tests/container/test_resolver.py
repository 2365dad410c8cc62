from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.container.resolver import HostEntry, Resolver, host_entry, parse_resolver
from nixoci.errors import ContainerError

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMES = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,8}[a-z0-9])?", fullmatch=True)
ADDRESSES = st.one_of(st.ip_addresses().map(str), st.just("host-gateway"))
PATHS = ("c.dns", "c.dnsSearch", "c.dnsOptions")


@given(names=st.lists(NAMES, min_size=1, max_size=3), address=ADDRESSES)
def test_a_host_is_read_up_to_its_first_colon(names: list[str], address: str) -> None:
    # podman-run(1), --add-host; an IPv6 address has more colons
    entry = host_entry("o", f"{';'.join(names)}:{address}")
    assert entry == HostEntry(address, tuple(names))
    assert entry.line == f"{address}\t{' '.join(names)}\n"


@given(st.text(max_size=20))
def test_no_text_becomes_more_than_its_line(text: str) -> None:
    with suppress(ContainerError):
        entry = host_entry("o", text)
        assert f"{';'.join(entry.names)}:{entry.address}" == text
        assert entry.line.split() == [entry.address, *entry.names]


@pytest.mark.parametrize(
    "text", ["db", "db:", ":1.2.3.4", "db:x", "d b:1.2.3.4", "a;;b:1.2.3.4", "db:fe80::1%eth0", "a,b:1.2.3.4"]
)
def test_a_line_that_podman_would_refuse_or_split_is_refused(text: str) -> None:
    with pytest.raises(ContainerError, match=r"^o: .* is not a line of /etc/hosts; expected "):
        host_entry("o", text)


def read(dns: Sequence[str] = (), search: Sequence[str] = (), options: Sequence[str] = ()) -> Resolver:
    return parse_resolver(PATHS, dns, search, options)


def test_the_lines_are_podmans_and_replace_those_of_their_kind() -> None:
    made = read(["10.0.0.1", "fd00::1"], ["a.org", "b.org"], ["ndots:2", "rotate"])
    assert made.lines == "search a.org b.org\nnameserver 10.0.0.1\nnameserver fd00::1\noptions ndots:2 rotate\n"
    assert set(made.replaced) == {"nameserver", "search", "domain", "options"}
    assert (read().lines, read().replaced) == ("", ())
    # no search at all (podman-run(1), --dns-search)
    assert (read(search=["."]).lines, read(search=["."]).replaced) == ("", ("search", "domain"))
    assert read(["none"]) == Resolver(image_file=True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dns": ["ns.example.org"]}, "c.dns[0]: 'ns.example.org' is not an IP address"),
        ({"dns": ["10.0.0.1", "none"]}, "c.dns: 'none' is the image's resolv.conf"),
        ({"dns": ["none"], "search": ["a.org"]}, "c.dnsSearch: the image's resolv.conf"),
        ({"dns": ["none"], "options": ["rotate"]}, "c.dnsOptions: the image's resolv.conf"),
        ({"search": [".", "a.org"]}, "c.dnsSearch: '.' means no domain"),
        ({"search": ["a.org", "b c"]}, "c.dnsSearch[1]: 'b c' is not a domain"),
        ({"search": ["12.34"]}, "c.dnsSearch[0]: '12.34' is not a domain"),
        ({"search": ["a" * 255]}, "c.dnsSearch[0]: "),
        ({"options": ["ndots:2\nnameserver 1.1.1.1"]}, "c.dnsOptions[0]: "),
        ({"options": ["a,b"]}, "c.dnsOptions[0]: 'a,b' is not an option"),
    ],
)
def test_what_podman_refuses_is_refused(given: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ContainerError) as caught:
        read(**given)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
