from __future__ import annotations

import tomllib
from pathlib import Path

from nixoci.image_store.storage_conf import render_storage_conf, render_storage_drop_in

OVERLAY = {"mountopt": "redirect_dir=on"}
ROOTS = {"runroot": "/run/containers/storage", "graphroot": "/var/lib/containers/storage"}
ODD = Path('/nix/store/ü"\\ \x1b\x7f😀')


def test_it_is_toml_whatever_the_path() -> None:
    options = {"additionalimagestores": [str(ODD)], "overlay": OVERLAY}
    assert tomllib.loads(render_storage_conf(ODD)) == {"storage": ROOTS | {"driver": "overlay", "options": options}}


def test_roots_file_says_to_users_what_is_theirs() -> None:
    assert "--rootless" in render_storage_conf(Path("/s"))
    assert "#" not in render_storage_conf(Path("/s"), mount_program=Path("/p"))


def test_a_rootless_user_mounts_with_a_program() -> None:
    options = tomllib.loads(render_storage_conf(Path("/s"), mount_program=ODD))["storage"]["options"]
    assert options == {"additionalimagestores": ["/s"], "overlay": {"mount_program": str(ODD)}}


def test_a_drop_in_adds_to_other_files() -> None:
    text = render_storage_drop_in(ODD, note="made")
    assert text.startswith("# made\n")
    stores = {"additionalimagestores": [str(ODD), {"append": True}]}
    assert tomllib.loads(text) == {"storage": {"options": stores | {"overlay": {"mountopt": "nodev,metacopy=on"}}}}
    assert tomllib.loads(render_storage_drop_in(ODD, mount_options="")) == {"storage": {"options": stores}}
    options = tomllib.loads(render_storage_drop_in(Path("/s"), mount_program=ODD))["storage"]["options"]
    assert options["overlay"] == {"mount_program": str(ODD)}
