from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.compose.node import Node, Place, Scalar
from nixoci.compose.values import duration, duration_text, port_fields, size, words
from nixoci.container import notation
from nixoci.errors import ComposeError


def node(value: Scalar) -> Node:
    return Node(value=value, place=Place(file="compose.yaml", line=7, directory=Path("/srv")))


@given(st.integers(0, 10**18))
def test_a_time_survives_the_models_notation(nanoseconds: int) -> None:
    text = duration_text(node(f"{nanoseconds}ns"), "x")
    assert notation.duration("x", text) == nanoseconds


@given(st.lists(st.sampled_from(["h", "m", "s", "ms", "us"]), min_size=1), st.integers(0, 999))
def test_a_time_of_parts_is_their_sum(units: list[str], number: int) -> None:
    text = "".join(f"{number}{unit}" for unit in units)
    assert duration(node(text), "x") == sum(notation.duration("x", f"{number}{unit}") for unit in units)


@given(st.integers(1, 10**6), st.sampled_from(["", "b", "k", "kb", "K", "KB", "m", "MB", "g", "GB", "Gi", "GiB"]))
def test_a_size_is_as_large_in_the_model(number: int, unit: str) -> None:
    factor = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}[unit.lower()[:1]]
    if unit.lower() != "gi":
        assert notation.size("x", size(node(f"{number}{unit}"), "x")) == number * factor


PORTS = st.integers(1, 65535)


@given(PORTS, st.none() | PORTS, st.sampled_from(["", "127.0.0.1", "::1"]), st.sampled_from(["tcp", "udp", "sctp"]))
def test_short_and_long_ports_are_the_same_port(target: int, published: int | None, ip: str, protocol: str) -> None:
    fields: dict[str, Node] = {"target": node(target), "protocol": node(protocol)}
    if ip:
        fields["host_ip"] = node(ip)
    if published is not None:
        fields["published"] = node(str(published))
    long = port_fields(Node(value=fields, place=node("").place), "ports")
    short = port_fields(node(f"{str(long).partition('/')[0]}/{protocol}"), "ports")
    assert short == long
    port = notation.port("ports", str(long))
    assert (port.address, port.protocol, port.container) == (ip, protocol, range(target, target + 1))
    assert port.host == (None if published is None else range(published, published + 1))


@pytest.mark.parametrize("text", ["a:b", "80:", "127.0.0.1:80", "1:2:3:4", "", "80;81", "80:http"])
def test_what_is_no_port_is_named_with_its_line(text: str) -> None:
    with pytest.raises(ComposeError, match=r"^compose\.yaml:7: ports: .* is not a port"):
        port_fields(node(text), "ports")


@pytest.mark.parametrize(
    ("read", "text"), [(duration, "10 parsecs"), (duration, "-1s"), (size, "big"), (size, "-1"), (words, "a 'b")]
)
def test_what_is_no_value_is_named_with_its_line(read: object, text: str) -> None:
    assert callable(read)
    with pytest.raises(ComposeError, match=r"^compose\.yaml:7: x: "):
        read(node(text), "x")
