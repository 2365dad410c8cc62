"""The schema of config.json, from a checkout of opencontainers/runtime-spec if there is one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import referencing
import referencing.jsonschema

VARIABLE = "NIXOCI_RUNTIME_SPEC_SCHEMA"


def config_validator() -> jsonschema.Draft4Validator:
    """Return a validator of config.json; skip the test if no schema is named."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        pytest.skip(f"{VARIABLE} does not name the folder `schema` of opencontainers/runtime-spec")

    def load(uri: str) -> referencing.Resource[Any]:
        schema = json.loads((Path(folder) / uri.rpartition("/")[2]).read_text(encoding="utf-8"))
        return referencing.Resource.from_contents(schema, default_specification=referencing.jsonschema.DRAFT4)

    schema = json.loads((Path(folder) / "config-schema.json").read_text(encoding="utf-8"))
    registry: referencing.Registry[Any] = referencing.Registry(retrieve=load)  # type: ignore[call-arg]
    return jsonschema.Draft4Validator(schema, registry=registry)
