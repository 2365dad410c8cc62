from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from nixoci.bundle.build import build_bundle
from nixoci.container.model import Backend, Container
from nixoci.errors import ContainerError
from tests.container.samples import make_image

if TYPE_CHECKING:
    from pathlib import Path

JOB = Container(image="i", backend=Backend.BUNDLE, cmd=["run"], networks=["none"], environment={"B": "2", "A": "1"})


def test_a_bundle_is_written_with_its_files(tmp_path: Path) -> None:
    make_image(tmp_path / "image")
    bundle = build_bundle(JOB, tmp_path / "image", tmp_path / "new/out", name="job", profile=None)
    assert json.loads((tmp_path / "new/out/config.json").read_text("utf-8")) == bundle.config
    assert (tmp_path / "new/out/hostname").read_text("utf-8") == "job\n"
    assert [entry for entry in bundle.config["process"]["env"] if entry[0] in "AB"] == ["A=1", "B=2"]


def test_only_a_bundle_can_be_written_to_a_new_place(tmp_path: Path) -> None:
    make_image(tmp_path / "image")
    with pytest.raises(ContainerError, match=r"^containers\.job\.backend: podman makes no bundle"):
        build_bundle(Container(image="i"), tmp_path / "image", tmp_path / "out", name="job", profile=None)
    (tmp_path / "out").mkdir()
    with pytest.raises(ContainerError, match="it exists"):
        build_bundle(JOB, tmp_path / "image", tmp_path / "out", name="job", profile=None)
