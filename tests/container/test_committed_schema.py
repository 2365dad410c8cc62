"""The schema that the Nix modules read equals the schema of the classes."""

from __future__ import annotations

import json
from pathlib import Path

from nixoci.container.model import Deployment
from nixoci.container.schema import json_schema

SCHEMA = Path(__file__).parents[2] / "modules/schema.json"


def test_the_modules_have_the_schema_of_the_model() -> None:
    assert json.loads(SCHEMA.read_text("utf-8")) == json_schema(Deployment), "run: nixoci units --schema > that file"
