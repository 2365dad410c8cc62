from __future__ import annotations

import json
from typing import TYPE_CHECKING

from click.testing import CliRunner

from nixoci.cli.units import bundle, units
from tests.container.samples import make_image

if TYPE_CHECKING:
    from pathlib import Path


def test_the_schema_is_printed() -> None:
    done = CliRunner().invoke(units, ["--schema"], catch_exceptions=False)
    assert json.loads(done.output)["$defs"]["Container"]["properties"]["dependsOn"]


def test_a_file_and_a_directory_are_needed(tmp_path: Path) -> None:
    assert CliRunner().invoke(units, [str(tmp_path / "x")]).exit_code == 2


def test_a_bundle_is_one_file(tmp_path: Path) -> None:
    make_image(tmp_path / "image", {"Cmd": ["run"]})
    (tmp_path / "c.json").write_text('{"user": "web"}')
    arguments = [str(tmp_path / "image"), str(tmp_path / "out"), "--seccomp=unconfined", "--name=web"]
    CliRunner().invoke(bundle, [*arguments, f"--container={tmp_path}/c.json"], catch_exceptions=False)
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["root"]["path"] == "/run/nixoci/web/root"
    assert config["process"]["user"]["uid"] == 33
    assert "seccomp" not in config["linux"]


def test_units_of_a_bundle_are_written_with_all_that_they_read(tmp_path: Path) -> None:
    make_image(tmp_path / "image", {"Cmd": ["run"]})
    container = {"image": "i", "backend": "bundle", "networks": ["host"], "volumes": ["v:/data"]}
    document = {"images": {"i": str(tmp_path / "image")}, "containers": {"web": container}}
    (tmp_path / "d.json").write_text(json.dumps(document))
    (tmp_path / "mkcomposefs").write_text('#!/bin/sh\ncp "$2" "$3"\n')
    (tmp_path / "mkcomposefs").chmod(0o755)
    tools = [f"--mkcomposefs={tmp_path}/mkcomposefs", "--crun=/x/crun"]
    arguments = [str(tmp_path / "d.json"), str(tmp_path / "out"), "--seccomp=unconfined", *tools]
    CliRunner().invoke(units, arguments, catch_exceptions=False)
    made = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if not path.is_dir()}
    bundle_files = {
        f"share/nixoci/bundles/web/{name}" for name in ("config.json", "fstab", "start", "stop", "root.erofs")
    }
    units_ = {"lib/systemd/system/web.service", "lib/systemd/system/multi-user.target.wants/web.service"}
    assert made == bundle_files | units_ | {f"share/nixoci/tmpfiles/{name}.conf" for name in ("web", "web-volumes")}
    assert (tmp_path / "out/lib/systemd/system/multi-user.target.wants/web.service").is_file()
