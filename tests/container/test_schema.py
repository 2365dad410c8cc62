from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from nixoci.container.model import Deployment
from nixoci.container.schema import json_schema
from nixoci.document import structure
from nixoci.errors import DocumentError

GOOD: list[dict[str, Any]] = [
    {},
    {"images": {}},
    {"images": {"i": "/i"}, "containers": {"a": {"image": "i", "backend": "bundle", "user": None, "restart": "no"}}},
    {"images": {}, "imageStore": "/s", "pods": {"p": {"ports": ["1:1"]}}, "networks": {"n": {"internal": True}}},
    {"images": {}, "containers": {"a": {"image": "i", "settings": {"runtime": {"a": [1, {"b": None}]}}}}},
]
BAD: list[dict[str, Any]] = [
    {"images": []},
    {"images": {}, "containers": {"a": {}}},
    {"images": {}, "containers": {"a": {"image": "i", "backend": "docker"}}},
    {"images": {}, "containers": {"a": {"image": "i", "cmd": "x"}}},
    {"images": {}, "containers": {"a": {"image": "i", "unknown": 1}}},
    {"images": {}, "containers": {"a": {"image": "i", "stopTimeout": "10"}}},
]


@pytest.mark.parametrize("document", GOOD)
def test_schema_and_reader_accept_the_same(document: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(json_schema(Deployment)).validate(document)
    structure(Deployment, document, what="d", strict=True)


@pytest.mark.parametrize("document", BAD)
def test_schema_and_reader_refuse_the_same(document: dict[str, Any]) -> None:
    assert not jsonschema.Draft202012Validator(json_schema(Deployment)).is_valid(document)
    with pytest.raises(DocumentError):
        structure(Deployment, document, what="d", strict=True)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema(Deployment))
