from __future__ import annotations

import string
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.compose.yaml_file import LARGEST_FILE, read_yaml
from nixoci.errors import ComposeError

if TYPE_CHECKING:
    from nixoci.compose.node import Node


def read(text: str | bytes) -> Node:
    raw = text.encode() if isinstance(text, str) else text
    return read_yaml(raw, file="compose.yaml", directory=Path("/srv"))


def plain(node: Node) -> Any:
    match node.value:
        case dict():
            return {key: plain(item) for key, item in node.value.items()}
        case list():
            return [plain(item) for item in node.value]
    return node.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-5", -5),
        ("0x1F", 31),
        ("0o17", 15),
        ("0444", 0o444),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("'1'", "1"),
        ("''", ""),
        ("!!str 5", "5"),
        ("!!str null", "null"),
        # YAML 1.1 reads these as a number, as truth values, as a date
        ("22:22", "22:22"),
        ("yes", "yes"),
        ("off", "off"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        (".", "."),
        ("1.27.0", "1.27.0"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    assert plain(read(f"key: {text}")) == {"key": value}


def test_an_empty_file_is_nothing() -> None:
    assert read("# nothing\n").value is None


def test_a_value_knows_its_line() -> None:
    node = read("a:\n  b:\n    - 1\n    - 2\n")
    inner = node.items("a")["a"].items("a")["b"].sequence("b")
    assert [str(item.place) for item in inner] == ["compose.yaml:3", "compose.yaml:4"]


def test_a_list_or_mapping_is_on_the_line_of_its_key() -> None:
    node = read_yaml(b"x: &x [1]\na:\n\n  - b\nc:\n  d: *x\n", file="f", directory=Path()).items("")
    assert [node[key].place.line for key in "xac"] == [1, 2, 5]
    assert node["c"].items("")["d"].place.line == 6
    assert [item.place.line for item in node["a"].sequence("")] == [4]


def test_merge_keys_give_way_to_own_keys_and_earlier_ones() -> None:
    text = "x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\nz: {<<: [*x, *y], a: 3}\nw: {a: 4, <<: *y}\n"
    found = plain(read(text))
    assert found["z"] == {"a": 3, "b": 1, "c": 2}
    assert found["w"] == {"a": 4, "b": 2, "c": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2\nb: 3\n", "compose.yaml:2: not valid YAML: "),
        ("a: 1\n b: 2\n", "compose.yaml:2: not valid YAML: "),
        ("a: *none\n", "compose.yaml:1: not valid YAML: "),
        ("a: 1\n---\nb: 2\n", "compose.yaml:2: not valid YAML: "),
        ("a: \t- x\n\tb: c\n", "compose.yaml:1: not valid YAML: "),
        (b"a: \xff\n", "compose.yaml: not valid YAML: "),
        ("a: \x00\n", "compose.yaml: not valid YAML: "),
        ("a: 1\na: 2\n", "compose.yaml:2: the key 'a' is there twice"),
        ('"\\ud800": 1\n', "compose.yaml:1: '\\ud800' is not UTF-8"),
        ("? [1]\n: 2\n", "compose.yaml:1: a key has to be text"),
        ("a: !!python/object/apply:os.system [ls]\n", "compose.yaml:1: the tag "),
        ("a: !secret x\n", "compose.yaml:1: the tag !secret "),
        ("a: &a\n  - *a\n", "compose.yaml:1: this value contains itself"),
        ("a: {<<: 1}\n", "compose.yaml:1: <<: expected a mapping"),
    ],
)
def test_what_is_not_a_compose_file_is_one_line_with_its_place(text: str | bytes, message: str) -> None:
    with pytest.raises(ComposeError) as caught:
        read(text)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_aliases_that_multiply_are_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    with pytest.raises(ComposeError, match="more than 100000 values"):
        read("\n".join(lines))


@pytest.mark.parametrize("depth", [61, 500, 100_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    with pytest.raises(ComposeError, match="nests deeper than 60 levels"):
        read("a: " + "[" * depth + "]" * depth)


def test_a_large_file_is_refused() -> None:
    with pytest.raises(ComposeError, match="it is no Compose file"):
        read(b"#" * (LARGEST_FILE + 1))


@given(st.text(alphabet=string.printable, max_size=80))
def test_any_text_is_a_value_or_one_line(text: str) -> None:
    try:
        read(text)
    except ComposeError as error:
        message = str(error)
    else:
        return
    assert message.startswith("compose.yaml")
    assert "\n" not in message
