"""Pinning and prefetching over a real registry, with real skopeo and Nix."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from nixoci.lock.names import blob_name
from nixoci.oci.digest import Digest
from tests.host.registry import PASSWORD, USER, Registry
from tests.host.test_nix import arguments

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.host.images import Pair
    from tests.host.machine import Machine
    from tests.host.registry import Request

PLATFORM = "linux/amd64"


@pytest.fixture
def folder(machine: Machine, request: pytest.FixtureRequest) -> Iterator[str]:
    path = f"/root/lock/{request.node.name}"
    machine.run(["mkdir", "--parents", path])
    yield path
    machine.run(["rm", "--recursive", path])


def nixoci(machine: Machine, folder: str, *arguments: str) -> str:
    return machine.run(["nixoci", *arguments], cwd=folder, timeout=600).stdout


def refused(machine: Machine, folder: str, *arguments: str) -> str:
    done = machine.run(["nixoci", *arguments], cwd=folder, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def read(machine: Machine, folder: str) -> dict[str, Any]:
    images: dict[str, Any] = json.loads((machine.root / folder.lstrip("/") / "nixoci.lock.json").read_bytes())["images"]
    return images


def layer_requests(requests: list[Request], entry: dict[str, Any]) -> list[Request]:
    digests = {layer["digest"] for layer in entry["platforms"][PLATFORM]["layers"]}
    return [request for request in requests if any(digest in request.path for digest in digests)]


def test_adding_a_three_layer_image_asks_for_no_layer(
    machine: Machine, registry: Registry, images: dict[str, Pair], folder: str
) -> None:
    reference = registry.push(images["nginx"].old)
    registry.clear()
    nixoci(machine, folder, "add", reference)
    asked = registry.requests()
    entry = read(machine, folder)["nginx"]
    assert len(entry["platforms"][PLATFORM]["layers"]) == 3
    assert any(entry["platforms"][PLATFORM]["config"]["digest"] in request.path for request in asked)
    assert layer_requests(asked, entry) == []
    assert "is consistent and agrees with" in nixoci(machine, folder, "verify")


def test_the_pin_is_what_the_layout_holds(
    machine: Machine, registry: Registry, images: dict[str, Pair], folder: str
) -> None:
    nixoci(machine, folder, "add", registry.push(images["redis"].old), "--name", "pulled")
    nixoci(machine, folder, "add", images["redis"].old.inside, "--name", "local")
    entries = read(machine, folder)
    for entry in entries.values():
        del entry["reference"]
    assert entries["pulled"] == entries["local"]


def test_several_platforms_are_pinned_at_once(
    machine: Machine, registry: Registry, images: dict[str, Pair], folder: str
) -> None:
    old, new = (registry.push(image) for image in (images["redis"].old, images["redis"].new))
    index = f"{registry.host}/multi:1"
    machine.run(["buildah", "manifest", "create", "multi"])
    try:
        for reference, platform in ((old, ["--arch=amd64"]), (new, ["--arch=arm", "--variant=v7"])):
            machine.run(["buildah", "manifest", "add", *platform, "multi", f"docker://{reference}"])
        machine.run(["buildah", "manifest", "push", "multi", f"docker://{index}"], timeout=300)
    finally:
        machine.run(["buildah", "manifest", "rm", "multi"])
    registry.clear()
    nixoci(machine, folder, "add", index, "--platform", "linux/amd64", "--platform", "linux/arm/v7")
    entry = read(machine, folder)["multi"]
    assert list(entry["platforms"]) == ["linux/amd64", "linux/arm/v7"]
    assert len({platform["manifest"]["digest"] for platform in entry["platforms"].values()} | {entry["digest"]}) == 3
    assert layer_requests(registry.requests(), entry) == []
    said = refused(machine, folder, "add", index, "--platform", "linux/riscv64")
    assert "no image for linux/riscv64" in said
    assert "linux/amd64, linux/arm/v7" in said


def test_a_moved_tag_and_newer_ones(machine: Machine, registry: Registry, images: dict[str, Pair], folder: str) -> None:
    pair = images["nginx"]
    machine.run(["skopeo", "copy", "--quiet", pair.old.inside, f"docker://{registry.host}/moving:1.0"], timeout=300)
    nixoci(machine, folder, "add", f"{registry.host}/moving:1.0")
    before = read(machine, folder)["moving"]
    assert json.loads(nixoci(machine, folder, "outdated", "--json")) == []
    for tag in ("1.0", "1.1", "1.2-alpine", "1.2.0"):
        machine.run(["skopeo", "copy", "--quiet", pair.new.inside, f"docker://{registry.host}/moving:{tag}"])
    found = json.loads(nixoci(machine, folder, "outdated", "--json"))
    reference = f"{registry.host}/moving:1.0"
    assert found == [{"name": "moving", "reference": reference, "moved": True, "newer": ["1.1"]}]
    assert "is consistent and agrees with" in nixoci(machine, folder, "verify"), "what is pinned is still there"
    nixoci(machine, folder, "update", "--dry-run")
    assert read(machine, folder)["moving"] == before
    nixoci(machine, folder, "update")
    assert read(machine, folder)["moving"]["digest"] != before["digest"]
    nixoci(machine, folder, "update", "moving", "--tag", "1.1")
    assert read(machine, folder)["moving"]["reference"] == f"{registry.host}/moving:1.1"


def test_what_the_registry_does_not_have(machine: Machine, registry: Registry, folder: str) -> None:
    said = refused(machine, folder, "add", f"{registry.host}/nothing:1")
    assert f"error: {registry.host}/nothing:1: skopeo says: " in said
    assert "manifest unknown" in said
    assert machine.run(["ls", folder]).stdout == ""


def test_a_registry_that_speaks_plain_http(
    machine: Machine, registry: Registry, images: dict[str, Pair], folder: str
) -> None:
    reference = registry.push(images["redis"].old)
    assert "http" in refused(machine, folder, "add", "--tls-verify", reference).lower()
    nixoci(machine, folder, "add", "--no-tls-verify", reference)


@pytest.fixture
def login(machine: Machine, registry_with_auth: Registry) -> Iterator[str]:
    authfile = "/root/auth.json"
    command = ["skopeo", "login", f"--authfile={authfile}", f"--username={USER}", f"--password={PASSWORD}"]
    machine.run([*command, registry_with_auth.host])
    yield authfile
    machine.run(["rm", authfile])


def test_a_registry_that_wants_a_password(
    machine: Machine, registry_with_auth: Registry, images: dict[str, Pair], folder: str, login: str
) -> None:
    reference = registry_with_auth.push(images["redis"].new)
    said = refused(machine, folder, "add", reference)
    assert f"log in with `skopeo login {registry_with_auth.host}`" in said
    nixoci(machine, folder, "add", reference, "--authfile", login)
    nixoci(machine, folder, "prefetch", "--authfile", login)
    nixoci(machine, folder, "generate", "--output", "default.nix")
    # the build itself has no password: it must find everything in the store
    path = machine.run(["nix-build", "--no-out-link", *arguments("images.redis")], cwd=folder, timeout=600).stdout
    assert json.loads((machine.root / path.strip().lstrip("/") / "image.json").read_bytes())["name"] == "redis"


def forget(machine: Machine, entry: dict[str, Any]) -> list[str]:
    """Remove an image's blobs from the Nix store; return where they were."""
    pinned = entry["platforms"][PLATFORM]
    digests = [Digest.parse(blob["digest"]) for blob in (pinned["manifest"], pinned["config"], *pinned["layers"])]
    paths = [
        machine.run(["nix-store", "--print-fixed-path", "sha256", digest.hex, blob_name(digest)]).stdout.strip()
        for digest in digests
    ]
    for path in paths:
        machine.run(["nix-store", "--delete", "--ignore-liveness", path], check=False)
    return paths


@pytest.mark.parametrize("local", [False, True])
def test_prefetched_blobs_are_where_the_derivations_look(
    machine: Machine, registry: Registry, images: dict[str, Pair], folder: str, local: bool
) -> None:
    image = images["python"].old
    nixoci(machine, folder, "add", image.inside if local else registry.push(image), "--name", "web")
    paths = forget(machine, read(machine, folder)["web"])
    said = json.loads(nixoci(machine, folder, "prefetch", "--no-nar-hash", "--json"))
    assert (len(said["blobs"]), said["narHashes"]) == (len(paths), [])
    machine.run(["nix-store", "--check-validity", *paths])
    registry.clear()
    said = json.loads(nixoci(machine, folder, "prefetch", "--no-image-paths", "--json"))
    assert (said["blobs"], [image["path"] for image in said["narHashes"]]) == ([], [None])
    assert registry.requests() == [], "what is in the store is not fetched again"
    machine.run(["nix-store", "--delete", "--ignore-liveness", paths[-1]])
    assert len(json.loads(nixoci(machine, folder, "prefetch", "--no-nar-hash", "--json"))["blobs"]) == 1
    assert len({request.path for request in registry.requests() if "/blobs/" in request.path}) <= 2, "config and layer"


@pytest.mark.parametrize("local", [False, True])
def test_an_image_path_is_fetched_without_its_blobs(
    machine: Machine, registry: Registry, images: dict[str, Pair], folder: str, local: bool
) -> None:
    image = images["python"].old
    nixoci(machine, folder, "add", image.inside if local else registry.push(image), "--name", "web")
    blobs = forget(machine, read(machine, folder)["web"])
    planned = json.loads(nixoci(machine, folder, "prefetch", "--dry-run", "--json"))
    done = json.loads(nixoci(machine, folder, "prefetch", "--json"))
    assert (len(planned["blobs"]), planned["narHashes"]) == (len(blobs), [])
    assert planned["blobs"] == done["blobs"]
    ((path, pinned),) = [(each["path"], each["narHash"]) for each in done["narHashes"]]
    assert read(machine, folder)["web"]["platforms"][PLATFORM]["narHash"]["hash"] == pinned
    assert machine.run(["nix-store", "--check-validity", *blobs], check=False).returncode, "no blob reaches the store"
    assert machine.run(["nix-store", "--query", "--references", path]).stdout == ""
    nixoci(machine, folder, "generate", "--output", "default.nix")
    command = ["nix-build", "--no-out-link", *arguments("images.web")]
    built = machine.run(command, cwd=folder, timeout=600)
    assert built.stdout.strip() == path
    assert "building '" not in built.stderr, "an image that prefetching has extracted is not extracted again"
    registry.clear()
    again = json.loads(nixoci(machine, folder, "prefetch", "--json"))
    assert (again["blobs"], again["narHashes"]) == ([], done["narHashes"])
    assert registry.requests() == [], "an image path in the store is not made again"
    machine.run(["nix-store", "--delete", "--ignore-liveness", path])
    built = machine.run(command, cwd=folder, check=False, timeout=600)
    if local:
        assert "error: image web: pinned from local files, which a Nix build cannot read" in built.stderr
        assert "run `nixoci prefetch web` where they are" in built.stderr
    else:
        assert built.stdout.strip() == path, "the build makes the same path"


def test_a_damaged_layout_is_not_put_into_the_store(machine: Machine, images: dict[str, Pair], folder: str) -> None:
    machine.run(["skopeo", "copy", "--quiet", images["redis"].old.inside, f"oci:{folder}/layout:1"], timeout=300)
    nixoci(machine, folder, "add", "oci:layout:1", "--name", "web")
    entry = read(machine, folder)["web"]
    forget(machine, entry)
    digest = Digest.parse(entry["platforms"][PLATFORM]["layers"][-1]["digest"])
    blob = machine.root / folder.lstrip("/") / "layout/blobs" / digest.algorithm / digest.hex
    damaged = bytearray(blob.read_bytes())
    damaged[100] ^= 1
    blob.write_bytes(damaged)
    done = machine.run(["nixoci", "prefetch"], cwd=folder, check=False)
    assert done.returncode == 1
    warning, error = done.stderr.splitlines()
    assert warning.startswith(f"warning: image web, {PLATFORM}: layer {digest}: ")
    assert warning.endswith("; the blob is damaged, fetch it again")
    assert error.startswith("error: nixoci.lock.json: not prefetched: web;")


def test_the_users_policy_holds(machine: Machine, registry: Registry, images: dict[str, Pair], folder: str) -> None:
    reference = registry.push(images["nginx"].old)
    machine.run(["mkdir", "--parents", "/root/.config/containers"])
    policy = machine.root / "root/.config/containers/policy.json"
    strict: dict[str, Any] = {"default": [{"type": "reject"}], "transports": {"docker": {}}}
    try:
        policy.write_text(json.dumps(strict), encoding="utf-8")
        said = refused(machine, folder, "add", reference)
        assert "is rejected by policy" in said
        strict["transports"]["docker"][registry.host] = [{"type": "insecureAcceptAnything"}]
        policy.write_text(json.dumps(strict), encoding="utf-8")
        registry.clear()
        nixoci(machine, folder, "add", reference)
        assert layer_requests(registry.requests(), read(machine, folder)["nginx"]) == []
    finally:
        policy.unlink()
