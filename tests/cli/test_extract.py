from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.layout import write_layout

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Result


@pytest.mark.parametrize(
    ("reference", "listed"),
    [("docker.io/library/nginx:1.27", "docker.io/library/nginx:1.27"), ("oci:layout:2.0", "localhost/web:2.0")],
)
def test_podman_lists_a_local_source_under_localhost(
    tmp_path: Path, nixoci: Callable[..., Result], reference: str, listed: str
) -> None:
    write_layout(tmp_path / "layout", [])
    assert nixoci("extract", "oci:layout", "out", "--name", "web", "--reference", reference).code == 0
    assert json.loads((tmp_path / "out/image.json").read_bytes())["reference"] == listed
