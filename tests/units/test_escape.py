from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.errors import ContainerError
from nixoci.units.escape import (
    UnitFile,
    argument,
    command,
    literal,
    quadlet_argument,
    raw,
    verbatim,
    verbatim_argument,
    word,
)

NONCHARACTERS = [*range(0xFDD0, 0xFDF0), *(plane << 16 | last for plane in range(17) for last in (0xFFFE, 0xFFFF))]
ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=["\0", *map(chr, NONCHARACTERS)]))
HOSTILE = st.text(st.sampled_from("\"'\\$%{}; \n\t\r\x01\x7f#[]=é容aA0"))


def split(line: str) -> list[str]:
    """Split words as systemd.syntax(7) says: quotes, then C escapes inside and outside of them."""
    words: list[str] = []
    current: str | None = None
    quote = ""
    chars = iter(line)
    escapes = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "'": "'", "s": " "}
    for char in chars:
        if char == "\\":
            escaped = next(chars)
            code = chr(int(next(chars) + next(chars), 16)) if escaped == "x" else escapes[escaped]
            current = (current or "") + code
        elif quote:
            current, quote = (current, "") if char == quote else ((current or "") + char, quote)
        elif char in "\"'":
            current, quote = current or "", char
        elif char in string.whitespace:
            words += [] if current is None else [current]
            current = None
        else:
            current = (current or "") + char
    return words + ([] if current is None else [current])


def unspecified(text: str) -> str:
    assert text.count("%") % 2 == 0
    return text.replace("%%", "%")


@given(st.lists(ANY | HOSTILE, min_size=1))
def test_a_command_line_gives_its_arguments_back(arguments: list[str]) -> None:
    line = command(arguments)
    assert "\n" not in line
    assert "\r" not in line
    assert [unspecified(one).replace("$$", "$") for one in split(line)] == arguments


@given(ANY | HOSTILE)
def test_a_setting_is_one_word_that_keeps_specifiers_and_variables(value: str) -> None:
    try:
        written = verbatim_argument("option", verbatim("option", f"--flag={value}"))
    except ContainerError as error:
        assert str(error).startswith("option: ")  # noqa: PT017
    else:
        assert split(written) == [f"--flag={value}"]


@given(ANY | HOSTILE)
def test_every_dollar_and_percent_is_doubled(value: str) -> None:
    written = argument(value)
    assert written.count("$") == 2 * value.count("$")
    assert written.count("%") == 2 * value.count("%")
    assert "$" not in written.replace("$$", "")


@given(ANY | HOSTILE)
def test_a_word_is_one_word_and_never_a_lone_semicolon(value: str) -> None:
    assert split(word(value)) == [value.replace("%", "%%")]
    assert word(value) not in {";", "\\;", ""}


@given(ANY | HOSTILE)
def test_a_raw_value_is_itself_or_refused(value: str) -> None:
    try:
        written = raw("o", value)
    except ContainerError as error:
        assert str(error).startswith("o: ")  # noqa: PT017 - either is right
    else:
        assert unspecified(written) == value
        assert written == written.strip()
        assert not written.endswith("\\")


@given(ANY)
def test_a_setting_stays_on_its_line(value: str) -> None:
    try:
        assert "\n" not in verbatim("o", value)
    except ContainerError as error:
        assert str(error).startswith("o: ")  # noqa: PT017 - either is right


@pytest.mark.parametrize("value", ["", ";", "a\x80b"])
def test_what_quadlet_drops_is_refused(value: str) -> None:
    with pytest.raises(ContainerError, match=r"^o: Quadlet cannot express"):
        quadlet_argument("o", value)


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\\"])
def test_a_setting_of_more_than_one_line_is_refused(value: str) -> None:
    """The next key would belong to a value that ends with a backslash."""
    with pytest.raises(ContainerError, match=r"^o: more than one line"):
        verbatim("o", value)


@pytest.mark.parametrize("value", [None, {}, [1]])
def test_a_setting_of_another_type_is_refused(value: object) -> None:
    with pytest.raises(ContainerError, match=r"^o: expected text"):
        verbatim("o", value)


def test_a_unit_file_is_sections_of_keys() -> None:
    unit = UnitFile("a.service", comments=[literal("from here")])
    unit.add("Unit", "Description", literal("A"))
    unit.add("Service", "Environment", word("A=b c"), word("D=%n"))
    unit.add_settings("o", {"Service": {"LimitNOFILE": 5, "CPUQuota": "10%", "Nice": [1, 2], "Private": True}})
    assert unit.render() == (
        '# from here\n\n[Unit]\nDescription=A\n\n[Service]\nEnvironment="A=b c"\nEnvironment="D=%%n"\n'
        "LimitNOFILE=5\nCPUQuota=10%\nNice=1\nNice=2\nPrivate=true\n"
    )


@pytest.mark.parametrize("bare", ["comment", "section", "key", "value"])
def test_bare_text_cannot_get_into_a_unit(bare: str) -> None:
    comment, section, key, value = (
        place if place == bare else literal(place) for place in ("comment", "section", "key", "value")
    )
    unit = UnitFile("a.service", [comment], {section: [(key, value)]})  # type: ignore[list-item,dict-item]
    with pytest.raises(TypeError, match="not escaped"):
        unit.render()


@pytest.mark.parametrize("key", ["A=b", "A\nB", "", "A B"])
def test_a_setting_cannot_add_another_key(key: str) -> None:
    with pytest.raises(ContainerError, match=r"^o\.Service: "):
        UnitFile("a").add_settings("o", {"Service": {key: "x"}})


@pytest.mark.parametrize("code", NONCHARACTERS)
def test_a_noncharacter_is_refused_since_systemd_drops_the_line(code: int) -> None:
    for write in (word, lambda value: quadlet_argument("o", value), lambda value: verbatim("o", value)):
        with pytest.raises(ContainerError, match=f"noncharacter U\\+{code:04X}"):
            write(f"a{chr(code)}b")
