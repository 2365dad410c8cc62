"""Typed JSON: reading it, refusing it with the path of the problem, and writing it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.document import DEEPEST, _converter, dump, key, load, parse, structure, unstructure
from nixoci.errors import DocumentError
from nixoci.oci.digest import Digest
from tests.support.hang import no_hang

DIGEST = "sha256:" + "a" * 64


@dataclass(frozen=True, kw_only=True)
class Part:
    digest: Digest
    size: int
    os_version: str | None = field(default=None, metadata=key("os.version"))


@dataclass(frozen=True, kw_only=True)
class Whole:
    schema_version: int
    parts: list[Part] = field(default_factory=list)
    by_name: dict[str, Part] = field(default_factory=dict)
    names: list[str] | None = None
    fixed: tuple[str, ...] = ()
    anything: dict[str, Any] | None = None
    flag: bool = False
    text: str = "default"


def whole(text: str, *, strict: bool = True) -> Whole:
    return parse(Whole, text, what="doc", strict=strict)


def refused(text: str | bytes, message: str, *, strict: bool = True) -> None:
    with pytest.raises(DocumentError, match=f"^{re.escape('doc: ' + message)}$"):
        parse(Whole, text, what="doc", strict=strict)


def test_a_key_that_appears_twice_is_found_among_many() -> None:
    keys = [*range(400_000), 99_999]
    with no_hang(), pytest.raises(DocumentError, match="key 'k99999' appears twice"):
        load("{" + ",".join(f'"k{number}":0' for number in keys) + "}", what="it")


def test_the_functions_that_read_and_write_are_made_once() -> None:
    def use() -> None:
        for strict in (False, True):
            dump(whole('{"schemaVersion": 2}', strict=strict))

    use()
    before = _converter.cache_info().misses
    use()
    assert _converter.cache_info().misses == before


def test_a_document_is_read() -> None:
    part = f'{{"digest": "{DIGEST}", "size": 3, "os.version": "10"}}'
    assert whole(
        f'{{"schemaVersion": 2, "parts": [{part}], "byName": {{"é": {part}}}, "anything": {{"x": [1]}},'
        ' "fixed": ["a"]}'
    ) == Whole(
        schema_version=2,
        parts=[Part(digest=Digest.parse(DIGEST), size=3, os_version="10")],
        by_name={"é": Part(digest=Digest.parse(DIGEST), size=3, os_version="10")},
        anything={"x": [1]},
        fixed=("a",),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "expected an object, got []"),
        ('"text"', 'expected an object, got "text"'),
        ("{}", "schemaVersion: is missing"),
        ('{"schemaVersion": "2"}', 'schemaVersion: expected an integer, got "2"'),
        ('{"schemaVersion": 2.0}', "schemaVersion: expected an integer, got 2.0"),
        ('{"schemaVersion": true}', "schemaVersion: expected an integer, got true"),
        ('{"schemaVersion": null}', "schemaVersion: expected an integer, got null"),
        ('{"schemaVersion": 2, "flag": 1}', "flag: expected true or false, got 1"),
        ('{"schemaVersion": 2, "text": 1}', "text: expected a string, got 1"),
        ('{"schemaVersion": 2, "parts": {}}', "parts: expected a list, got {}"),
        ('{"schemaVersion": 2, "parts": "ab"}', 'parts: expected a list, got "ab"'),
        ('{"schemaVersion": 2, "byName": []}', "byName: expected an object, got []"),
        ('{"schemaVersion": 2, "fixed": "ab"}', 'fixed: expected a list, got "ab"'),
        ('{"schemaVersion": 2, "fixed": {}}', "fixed: expected a list, got {}"),
        ('{"schemaVersion": 2, "names": "ab"}', 'names: expected a list, got "ab"'),
        ('{"schemaVersion": 2, "names": ["a", 1]}', "names[1]: expected a string, got 1"),
        ('{"schemaVersion": 2, "parts": [1]}', "parts[0]: expected an object, got 1"),
        ('{"schemaVersion": 2, "parts": [{}]}', "parts[0]: key 'digest' is missing"),
        (f'{{"schemaVersion": 2, "parts": [{{"digest": "{DIGEST}"}}]}}', "parts[0]: key 'size' is missing"),
        (
            f'{{"schemaVersion": 2, "byName": {{"é": {{"digest": "{DIGEST}", "size": "3"}}}}}}',
            'byName["é"].size: expected an integer, got "3"',
        ),
        (
            f'{{"schemaVersion": 2, "byName": {{"a": {{"digest": "{DIGEST}", "size": 3, "os.version": 1}}}}}}',
            'byName["a"].os.version: expected a string, got 1',
        ),
        ('{"schemaVersion": 2, "other": 1, "extra": 2}', "unknown key 'extra', 'other'"),
        (
            f'{{"schemaVersion": 2, "parts": [{{"digest": "{DIGEST}", "size": 3, "x": 1}}]}}',
            "parts[0]: unknown key 'x'",
        ),
        (
            '{"schemaVersion": 2, "parts": [{"digest": "md5:a", "size": 1}]}',
            "parts[0].digest: digest 'md5:a': expected sha256:<64 hex digits> or sha512:<128 hex digits>",
        ),
        ('{"schemaVersion": 2, "parts": [{"digest": 1, "size": 1}]}', "parts[0].digest: expected a string, got 1"),
        (
            f'{{"schemaVersion": "{"x" * 100}"}}',
            f'schemaVersion: expected an integer, got "{"x" * 58}…',
        ),
    ],
)
def test_what_has_another_shape_is_refused_with_its_path(text: str, message: str) -> None:
    refused(text, message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON: it is empty"),
        (b"\n", "not valid JSON: it is empty"),
        ("x", "not valid JSON: Expecting value: line 1 column 1 (char 0)"),
        ("{", "not valid JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ('{"a": 1} x', "not valid JSON: Extra data: line 1 column 10 (char 9)"),
        ('{"a": 1, "a": 2}', "not valid JSON: key 'a' appears twice"),
        ('{"x": {"b": 1, "c": 2, "b": 3}}', "not valid JSON: key 'b' appears twice"),
        ('{"schemaVersion": NaN}', "not valid JSON: NaN is not a JSON number"),
        ('{"schemaVersion": -Infinity}', "not valid JSON: -Infinity is not a JSON number"),
        ('{"schemaVersion": 1e400}', "not valid JSON: 1e400 is too large a number"),
        ('{"schemaVersion": -1.5e999}', "not valid JSON: -1.5e999 is too large a number"),
        (
            '{\n<<<<<<< HEAD\n  "a": 1\n=======\n  "a": 2\n>>>>>>> other\n}',
            "line 2: has a conflict of a merge; keep one of its two versions, and remove its marks",
        ),
        (b"\xff", "not valid JSON: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    ],
)
def test_what_is_not_json_is_refused(text: str | bytes, message: str) -> None:
    refused(text, message)


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 5000, '{"a":' * 100_000])
def test_json_that_is_an_attack_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(DocumentError, match=r"^doc: not valid JSON: [^\n]+$"):
        load(text, what="doc")


@pytest.mark.parametrize(("head", "tail"), [("[", "]"), ('{"a":', "}")])
def test_what_is_read_can_be_written(head: str, tail: str) -> None:
    text = f"{head * DEEPEST}1{tail * DEEPEST}"
    assert load(dump(load(text, what="doc")), what="doc") == load(text, what="doc")
    with pytest.raises(DocumentError, match=f"^doc: nests deeper than {DEEPEST} levels, the limit$"):
        load(f"{head}{text}{tail}", what="doc")


def test_documents_of_others_may_have_more_keys_and_nulls() -> None:
    text = '{"schemaVersion": 2, "other": 1, "names": null, "text": null, "parts": null, "byName": null}'
    assert whole(text, strict=False) == Whole(schema_version=2)
    refused('{"schemaVersion": null}', "schemaVersion: is missing", strict=False)


def test_documents_of_others_may_have_keys_in_any_case() -> None:
    # as Go's encoding/json reads them, by which engines and their tools read images
    part = Part(digest=Digest.parse(DIGEST), size=3, os_version="a")
    text = f'{{"SchemaVersion": 2, "PARTS": [{{"Digest": "{DIGEST}", "SIZE": 3, "OS.Version": "a"}}]}}'
    assert whole(text, strict=False) == Whole(schema_version=2, parts=[part])
    refused('{"schemaVersion": 2, "Text": "a"}', "unknown key 'Text'")
    for second in ('"b"', "null"):
        twice = f'{{"schemaVersion": 2, "text": "a", "Text": {second}}}'
        refused(twice, "key 'Text' is there already as 'text'; Go programs read keys in any case", strict=False)
    twice = f'{{"schemaVersion": 2, "parts": [{{"digest": "{DIGEST}", "size": 3, "Size": 4}}]}}'
    says = "parts[0]: key 'Size' is there already as 'size'; Go programs read keys in any case"
    refused(twice, says, strict=False)


def test_the_text_is_stable_readable_and_without_what_is_not_set() -> None:
    document = Whole(schema_version=2, parts=[Part(digest=Digest.parse(DIGEST), size=3, os_version="é")])
    assert dump(document) == (
        "{\n"
        '  "schemaVersion": 2,\n'
        '  "parts": [\n'
        "    {\n"
        f'      "digest": "{DIGEST}",\n'
        '      "size": 3,\n'
        '      "os.version": "é"\n'
        "    }\n"
        "  ]\n"
        "}\n"
    )


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
PARTS = st.builds(Part, digest=st.binary().map(Digest.of), size=st.integers(), os_version=st.none() | TEXT.filter(bool))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=5,
)


@given(
    st.builds(
        Whole,
        schema_version=st.integers(),
        parts=st.lists(PARTS, max_size=3),
        by_name=st.dictionaries(TEXT, PARTS, max_size=3),
        names=st.none() | st.lists(TEXT),
        anything=st.none() | st.dictionaries(TEXT, JSON),
        flag=st.booleans(),
        text=TEXT,
    )
)
def test_a_document_reads_back(document: Whole) -> None:
    assert parse(Whole, dump(document), what="doc", strict=True) == document
    assert structure(Whole, unstructure(document), what="doc", strict=True) == document
    assert dump(parse(Whole, dump(document).encode(), what="doc", strict=True)) == dump(document)
