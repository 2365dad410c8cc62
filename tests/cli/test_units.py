from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from nixoci.cli.units import bundle, units, with_prefix
from nixoci.container.model import Container, Deployment, Pod, Volume
from nixoci.errors import StoreError
from nixoci.image_store.build import build_image_store
from tests.container.samples import make_image
from tests.image_store.trees import image_path, small_tree
from tests.units.samples import MKCOMPOSEFS, executable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from tests.cli.conftest import Result


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


def test_a_bundle_for_nspawn_needs_an_image_that_is_mounted(tmp_path: Path) -> None:
    image = image_path(tmp_path / "image", small_tree())
    build_image_store(tmp_path / "store", [image], mkcomposefs=None)
    (tmp_path / "c.json").write_text('{"cmd": ["/file"], "networks": ["none"]}')
    arguments = [str(image.path), str(tmp_path / "out"), "--seccomp=unconfined", f"--nspawn={tmp_path}/store"]
    done = CliRunner().invoke(bundle, [*arguments, f"--container={tmp_path}/c.json"])
    assert isinstance(done.exception, StoreError)
    assert "has no EROFS file to mount" in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_units_of_a_bundle_are_written_with_all_that_they_read(tmp_path: Path) -> None:
    make_image(tmp_path / "image", {"Cmd": ["run"]})
    container = {"image": "i", "backend": "bundle", "networks": ["host"], "volumes": ["v:/data"]}
    document = {"images": {"i": str(tmp_path / "image")}, "containers": {"web": container}}
    (tmp_path / "d.json").write_text(json.dumps(document))
    tools = [f"--mkcomposefs={executable(tmp_path / 'mkcomposefs', MKCOMPOSEFS)}", "--crun=/x/crun"]
    arguments = [str(tmp_path / "d.json"), str(tmp_path / "out"), "--seccomp=unconfined", *tools]
    CliRunner().invoke(units, arguments, catch_exceptions=False)
    made = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if not path.is_dir()}
    names = ("config.json", "hostname", "fstab", "start", "stop")
    files = {f"share/nixoci/bundles/web/{name}" for name in names} | {"share/nixoci/tmpfiles/volumes/web.conf"}
    services = ("web.service", "multi-user.target.wants/web.service", "nixoci-images.service")
    units_ = {f"lib/systemd/system/{name}" for name in services}
    # there is no other image store
    own = {path for path in made if path.startswith("share/nixoci/image-stores/web/")}
    assert made - own == files | units_
    layer = (tmp_path / "out/share/nixoci/images/web").readlink()
    assert (layer / "composefs-data/composefs.blob").read_text() == (tmp_path / "image/metadata.dump").read_text()
    assert str(layer) in (tmp_path / "out/lib/systemd/system/nixoci-images.service").read_text()
    assert (tmp_path / "out/lib/systemd/system/multi-user.target.wants/web.service").is_file()


def test_a_users_units_need_a_store_that_the_user_can_mount(tmp_path: Path) -> None:
    image = image_path(tmp_path / "image", small_tree())
    (stored,) = build_image_store(tmp_path / "store", [image], mkcomposefs=None)
    (tmp_path / "store/overlay" / stored.layer / "composefs-data").mkdir()
    (tmp_path / "store/overlay" / stored.layer / "composefs-data/composefs.blob").touch()
    containers = {"web": {"image": "i"}}
    document = {"images": {"i": str(image.path)}, "imageStore": str(tmp_path / "store"), "containers": containers}
    (tmp_path / "d.json").write_text(json.dumps(document))
    done = CliRunner().invoke(units, ["--user", str(tmp_path / "d.json"), str(tmp_path / "out")])
    assert str(done.exception) == (
        f"imageStore: {tmp_path}/store has EROFS files, which only root can mount; name one made by"
        " `nixoci image-store --rootless`"
    )
    assert not (tmp_path / "out").exists()


def _render(folder: Path, document: dict[str, Any], out: str, *arguments: str) -> str:
    """Render to a new directory; return the error."""
    (folder / f"{out}.json").write_text(json.dumps(document))
    tools = [
        f"--mkcomposefs={executable(folder / 'mkcomposefs', MKCOMPOSEFS)}",
        "--seccomp=unconfined",
        "--sh=/s/sh",
        *arguments,
    ]
    done = CliRunner().invoke(units, [str(folder / f"{out}.json"), str(folder / out), *tools])
    return str(done.exception or "")


def test_a_bundle_with_an_output_of_its_own_stays_as_it_is_when_another_changes(tmp_path: Path) -> None:
    make_image(tmp_path / "image", {"Cmd": ["run"]})
    images = {"i": str(tmp_path / "image")}
    bundles = {"image": "i", "backend": "bundle", "networks": ["none"]}
    first = bundles | {"dependsOn": ["b"]}
    # what the others are is not known to the bundle
    assert _render(tmp_path, {"images": images, "containers": {"a": first}}, "a", "--only=a") == ""
    texts = []
    for number in (1, 2):
        containers = {"a": first, "b": bundles | {"environment": {"N": str(number)}}}
        arguments = ("--bundle", "a", str(tmp_path / "a"))
        assert _render(tmp_path, {"images": images, "containers": containers}, f"all{number}", *arguments) == ""
        texts.append(
            {file.name: file.read_text() for file in (tmp_path / f"all{number}").rglob("*.service") if file.is_file()}
        )
        assert (tmp_path / f"all{number}/lib/systemd/system/multi-user.target.wants/a.service").is_file()
        assert (tmp_path / f"all{number}/share/nixoci/bundles/a/config.json").is_file()
    assert texts[0]["a.service"] == texts[1]["a.service"]
    assert f"ExecStart=/s/sh {tmp_path}/a/share/nixoci/bundles/a/start\n" in texts[0]["a.service"]
    assert texts[0]["b.service"] != texts[1]["b.service"]


def test_the_whole_is_checked_where_bundles_have_outputs_of_their_own(tmp_path: Path) -> None:
    make_image(tmp_path / "image", {"Cmd": ["run"]})
    images = {"i": str(tmp_path / "image")}
    own = {"image": "i", "backend": "bundle", "networks": ["none"], "dependsOn": ["b"]}
    document = {"images": images, "containers": {"a": own}}
    assert _render(tmp_path, document, "a", "--only=a") == ""
    refusal = "containers.a.dependsOn: no container 'b'; name one of this document"
    assert _render(tmp_path, document, "all", "--bundle", "a", str(tmp_path / "a")) == refusal
    prefixed = _render(tmp_path, document, "all", "--option-prefix=virtualisation.nixoci.")
    assert prefixed == f"virtualisation.nixoci.{refusal}"
    nobody = "containers.x: no container with the bundle or systemd backend; name one of this document"
    assert _render(tmp_path, document, "x", "--only=x") == nobody
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "containers.b.ports[0]: port 80/tcp is taken by containers.a.ports[0]; publish another",
            "P.containers.b.ports[0]: port 80/tcp is taken by P.containers.a.ports[0]; publish another",
        ),
        (
            "volumes.a: its unit is a-volume.service, like that of containers.a-volume; rename one of them",
            "P.volumes.a: its unit is a-volume.service, like that of P.containers.a-volume; rename one of them",
        ),
        (
            "containers.a.ports: a pod publishes the ports; move them to pods.p.ports",
            "P.containers.a.ports: a pod publishes the ports; move them to P.pods.p.ports",
        ),
        ("imageStore: /s has EROFS files", "P.imageStore: /s has EROFS files"),
        ("containers: '?' cannot be a name", "P.containers: '?' cannot be a name"),
        ("containers.new.image: x", "P.containers.new.image: x"),
        # what is not an option
        ("containers.a.cmd[0]: 'containers.a' is text", "P.containers.a.cmd[0]: 'containers.a' is text"),
        ("containers.a.image: /srv/containers.a is no image", "P.containers.a.image: /srv/containers.a is no image"),
        ("containers.a.image: see containers.other", "P.containers.a.image: see containers.other"),
        ("/out: it exists", "/out: it exists"),
        ("containersa.a: x", "containersa.a: x"),
    ],
)
def test_options_have_their_prefix_wherever_a_message_names_them(message: str, expected: str) -> None:
    container = Container(image="i")
    deployment = Deployment(
        containers={"a": container, "b": container, "a-volume": container}, pods={"p": Pod()}, volumes={"a": Volume()}
    )
    assert with_prefix("P.", message, deployment) == expected
    assert with_prefix("", message, deployment) == message


@given(st.dictionaries(st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,8}", fullmatch=True), st.just(Container(image="i"))))
def test_all_options_of_a_deployment_are_found(containers: dict[str, Container]) -> None:
    deployment = Deployment(containers=containers)
    message = "port: " + " and ".join(f"containers.{name}.ports[0], containers.{name}" for name in containers)
    expected = message.replace("containers.", "virtualisation.nixoci.containers.")
    if not any("containers." in name for name in containers):
        assert with_prefix("virtualisation.nixoci.", message, deployment) == expected


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["bundle", "missing", "out"], "missing: not an image path"),
        (["bundle", "image", "image"], "image: it exists"),
        (["bundle", "image", "out", "--nspawn=missing"], "imageStore: missing is not an image store"),
        (["units", "missing.json", "out"], "/missing: not an image path"),
        (["units", "odd.json", "out"], "containers.c.cmd[0]: the program to run is empty"),
    ],
)
def test_what_is_given_is_checked_before_the_default_profile(
    tmp_path: Path, nixoci: Callable[..., Result], arguments: list[str], says: str
) -> None:
    """The user did not name the profile, which a machine without podman has not."""
    make_image(tmp_path / "image", {"Cmd": ["run"]})
    for name, image, cmd in (("missing", "/missing", "x"), ("odd", str(tmp_path / "image"), "")):
        container = {"image": "i", "backend": "bundle", "networks": ["none"], "cmd": [cmd]}
        document = {"images": {"i": image}, "containers": {"c": container}}
        (tmp_path / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")
    done = nixoci(*arguments, "--seccomp=/nowhere/seccomp.json")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: {says}")


@pytest.mark.parametrize("profile", ["missing", "folder"])
def test_a_profile_that_is_no_file_is_one_line(tmp_path: Path, nixoci: Callable[..., Result], profile: str) -> None:
    make_image(tmp_path / "image", {"Cmd": ["run"]})
    (tmp_path / "folder").mkdir()
    done = nixoci("bundle", "image", "out", f"--seccomp={profile}")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: {profile}: no seccomp profile: ")
    assert done.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
