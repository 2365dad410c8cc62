"""The schema that the Nix modules read equals the schema of the classes."""

from __future__ import annotations

import json
from pathlib import Path

from nixoci.container.schema import deployment_schema

SCHEMA = Path(__file__).parents[2] / "modules/schema.json"


def test_the_refusals_are_those_that_units_are_made_with() -> None:
    """The modules refuse the same options, by this data alone: unknown keywords are annotations in a JSON schema."""
    refusals = deployment_schema()["x-refusals"]
    assert set(refusals) == {"podman", "rootfs", "bundle", "systemd"}
    found = {refusal["option"]: refusal for refusal in refusals["bundle"]}
    assert found["ports"]["allowed"] == [[]]
    assert found["networks"]["allowed"] == [["host"], ["none"]]
    assert found["backend"]["user"] is True


def test_the_modules_have_the_schema_of_the_model() -> None:
    assert json.loads(SCHEMA.read_text("utf-8")) == deployment_schema(), "run: nixoci units --schema > that file"
