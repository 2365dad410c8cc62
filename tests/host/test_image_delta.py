"""Deltas between versions of an image, in a real registry beside the image."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from nixoci.image_delta import oci_delta
from nixoci.image_delta.artifact import ARTIFACT_TYPE
from nixoci.oci.media_types import OCI_INDEX
from nixoci.oci.referrers import referrers_tag
from tests.host.image_versions import (
    PLATFORM,
    VERSIONS,
    Deployment,
    artifact,
    fallback,
    put,
    subject,
    unpin,
    updated_deployment,
    write_versions,
)
from tests.host.machine import Machine
from tests.host.registry import PASSWORD, USER, Registry
from tests.host.test_lock import layer_requests
from tests.host.test_nix import build

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A machine for these tests alone, which delete image paths; it has a layout with two versions of an image."""
    with Machine() as booted:
        write_versions(booted.root)
        yield booted


@pytest.fixture(scope="module")
def registry(machine: Machine) -> Iterator[Registry]:
    with Registry(machine) as running:
        yield running


@pytest.fixture
def updated(
    machine: Machine, registry: Registry, request: pytest.FixtureRequest
) -> Iterator[tuple[Deployment, str, str]]:
    """An image before and after an update, both in the store; the lock has the new one."""
    with updated_deployment(machine, registry, request.node.name) as made:
        yield made


def test_an_update_comes_as_a_delta(updated: tuple[Deployment, str, str]) -> None:
    web, old, new = updated
    (pushed,) = json.loads(web.run("delta", "push", "web", "--json"))
    assert pushed["basePath"] == old
    layers = web.locked()["platforms"][PLATFORM]["layers"]
    assert pushed["size"] < sum(layer["size"] for layer in layers) / 20
    (entry,) = fallback(web)
    assert (entry["artifactType"], entry["digest"]) == (ARTIFACT_TYPE, pushed["digest"])
    web.forget(new)
    web.registry.clear()
    assert web.prefetch() == new
    asked = web.registry.requests()
    assert any(pushed["digest"] in request.path for request in asked)
    assert layer_requests(asked, web.locked()) == []
    web.machine.run(["nix-store", "--verify-path", new])
    web.run("generate", "--output", "default.nix")
    web.registry.clear()
    assert build(web.machine, web.folder, "images.web") == [new]
    assert layer_requests(web.registry.requests(), web.locked()) == []


def test_a_delta_serves_locks_that_name_the_image_otherwise(
    updated: tuple[Deployment, str, str], machine: Machine, registry: Registry
) -> None:
    web, _, _ = updated
    web.run("delta", "push", "web")
    repository = web.reference.rpartition("/")[2].partition(":")[0]
    other = Deployment(machine, registry, "/root/other", name="cache", repository=repository)
    other.serve(VERSIONS[0])
    other.run("add", other.reference, "--name", "cache")
    other.prefetch()
    other.serve(VERSIONS[1])
    other.run("update")
    new = other.prefetch()
    other.forget(new)
    assert "already there" not in other.run("delta", "pull")
    assert other.prefetch() == new
    machine.run(["nix-store", "--verify-path", new])


def test_pushing_again_lists_a_delta_once(updated: tuple[Deployment, str, str]) -> None:
    web, old, _ = updated
    first = json.loads(web.run("delta", "push", "web", "--from", old, "--json"))
    assert json.loads(web.run("delta", "push", "--json")) == first
    assert len(fallback(web)) == 1
    (found,) = json.loads(web.run("delta", "list", "--json"))
    assert found == first[0]


def test_a_registry_that_removes_deltas_still_serves_its_images(updated: tuple[Deployment, str, str]) -> None:
    """This registry's collector does not see that the tag's index names them."""
    web, _, new = updated
    pushed = web.run("delta", "push", "--json")
    web.registry.collect_garbage()
    assert len(fallback(web)) == 1
    assert json.loads(web.run("delta", "list", "--json")) == []
    web.forget(new)
    assert web.prefetch() == new
    assert web.run("delta", "push", "--json") == pushed
    web.forget(new)
    web.run("delta", "pull")
    web.machine.run(["nix-store", "--verify-path", new])


def test_no_delta_starts_from_another_image_of_that_name(
    updated: tuple[Deployment, str, str], machine: Machine, registry: Registry
) -> None:
    web, old, _ = updated
    other = Deployment(machine, registry, "/root/of-that-name", name="web", repository="of-that-name")
    other.serve(VERSIONS[0])
    other.run("add", other.reference, "--name", "web")
    path = other.prefetch()
    assert path != old
    pushed = json.loads(web.run("delta", "push", "--dry-run", "--json"))
    assert [each["basePath"] for each in pushed] == [old]
    other.forget(path)


def test_no_delta_starts_from_the_image_itself(updated: tuple[Deployment, str, str]) -> None:
    web, _, new = updated
    done = web.machine.run(["nixoci", "delta", "push", "web", "--from", new], cwd=web.folder, check=False)
    said = f"error: {new}: this is the image web of the lock itself; name an older one\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_a_dry_run_pushes_and_pulls_nothing(updated: tuple[Deployment, str, str]) -> None:
    web, _, new = updated
    web.registry.clear()
    web.run("delta", "push", "web", "--dry-run")
    assert not [request for request in web.registry.requests() if request.method not in {"GET", "HEAD"}]
    web.run("delta", "push", "web")
    web.forget(new)
    web.registry.clear()
    (row,) = json.loads(web.run("delta", "pull", "--dry-run", "--json"))["added"]
    (pinned,) = json.loads(web.run("prefetch", "--dry-run", "--json"))["narHashes"]
    assert pinned["deltaSize"] == row["size"]
    assert "/blobs/" not in "".join(request.path for request in web.registry.requests())
    assert web.machine.run(["nix-store", "--check-validity", new], check=False).returncode


def test_a_delta_that_makes_something_else_is_not_used(updated: tuple[Deployment, str, str]) -> None:
    """The base has another tree, here because a file of it was damaged."""
    web, old, new = updated
    web.run("delta", "push", "web")
    web.forget(new)
    damaged = f"{old}/rootfs/usr/program"
    web.machine.run(["chmod", "u+w", damaged])
    web.machine.run(["tee", damaged], input="damaged\n")
    done = web.machine.run(["nixoci", "delta", "pull"], cwd=web.folder, check=False)
    assert done.returncode == 1
    assert "is not used" in done.stderr
    assert web.machine.run(["nix-store", "--check-validity", new], check=False).returncode
    done = web.machine.run(["nixoci", "prefetch"], cwd=web.folder, timeout=300)
    assert done.stderr.startswith("warning: image web: the delta ")
    assert done.stderr.count("\n") == 1
    assert new in done.stdout
    web.machine.run(["nix-store", "--verify-path", new])


def test_a_delta_that_lies_about_its_blobs_is_not_used(updated: tuple[Deployment, str, str]) -> None:
    web, _, new = updated
    (pushed,) = json.loads(web.run("delta", "push", "web", "--json"))
    (listed,) = fallback(web)
    lies: tuple[dict[str, Any], ...] = ({"size": 1}, {"urls": ["http://127.0.0.1:1/"]})
    for lie in lies:
        forged = artifact(web, pushed["digest"])
        forged["layers"][0] |= lie
        entry = listed | put(web, forged)
        put(web, {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}, at=referrers_tag(subject(web)))
        web.forget(new)
        done = web.machine.run(["nixoci", "prefetch"], cwd=web.folder, timeout=300)
        assert done.stderr.startswith("warning: image web: the delta ")
        assert done.stderr.count("\n") == 1
        web.machine.run(["nix-store", "--verify-path", new])


def test_an_artifact_of_oci_delta_needs_no_locked_hash(updated: tuple[Deployment, str, str]) -> None:
    """Both versions have their lowest layer in common, which no tar-diff has and the registry is asked for."""
    web, _, new = updated
    (pushed,) = json.loads(web.run("delta", "push", "--format", "oci-delta", "--json"))
    (entry,) = fallback(web)
    assert entry["artifactType"] == oci_delta.ARTIFACT_TYPE
    platform = web.locked()["platforms"][PLATFORM]
    manifest = artifact(web, pushed["digest"])
    assert manifest["subject"]["digest"] == platform["manifest"]["digest"]
    common, changed = platform["layers"]
    assert json.loads(manifest["annotations"][oci_delta.REUSED_DIFF_ID]) == [common["diffId"]]
    (described,) = (blob for blob in manifest["layers"] if oci_delta.TO in blob["annotations"])
    assert described["annotations"][oci_delta.TO] == changed["digest"]
    web.forget(new)
    unpin(web)
    web.registry.clear()
    (pinned,) = json.loads(web.run("prefetch", "--json"))["narHashes"]
    assert pinned["path"] == new
    assert pinned["deltaSize"] == pushed["size"] + common["size"]
    fetched = {request.path.rpartition("/")[2] for request in layer_requests(web.registry.requests(), web.locked())}
    assert fetched == {common["digest"]}
    assert web.locked()["platforms"][PLATFORM]["narHash"]["hash"] == pinned["narHash"]
    web.machine.run(["nix-store", "--verify-path", new])


def test_the_stream_is_a_delta_that_receive_takes(updated: tuple[Deployment, str, str]) -> None:
    web, old, new = updated
    (pushed,) = json.loads(web.run("delta", "push", "--json"))
    stream = artifact(web, pushed["digest"])["layers"][0]["digest"].partition(":")[2]
    repository = web.reference.rpartition(":")[0]
    web.machine.run(
        ["skopeo", "copy", "--quiet", f"docker://{repository}@{pushed['digest']}", f"oci:{web.folder}/copy"]
    )
    parts = [f"{old}/metadata.dump", f"{old}/rootfs"]
    web.machine.run(["nix-store", "--add-fixed", "--recursive", "sha256", *parts])
    received = web.run("receive", f"copy/blobs/sha256/{stream}").split()
    assert sorted(path.partition("-")[2] for path in received) == ["metadata.dump", "rootfs"]
    for path in received:
        web.machine.run(["diff", "--recursive", path, f"{new}/{path.partition('-')[2]}"])


def test_a_registry_with_a_password(machine: Machine) -> None:
    with Registry(machine, port=5003, auth=True) as private:
        web = Deployment(machine, private, "/root/private", name="web", repository="private")
        login = ["skopeo", "login", f"--authfile={web.folder}/auth.json", f"--username={USER}", "--password-stdin"]
        machine.run([*login, "--tls-verify=false", private.host], input=PASSWORD)
        web.serve(VERSIONS[0])
        web.run("add", web.reference, "--authfile", "auth.json")
        json.loads(web.run("prefetch", "--authfile", "auth.json", "--json"))
        web.serve(VERSIONS[1])
        web.run("update", "--authfile", "auth.json")
        (pinned,) = json.loads(web.run("prefetch", "--authfile", "auth.json", "--json"))["narHashes"]
        done = machine.run(["nixoci", "delta", "push"], cwd=web.folder, check=False)
        assert done.returncode == 1
        assert "log in with" in done.stderr
        web.run("delta", "push", "--authfile", "auth.json")
        web.forget(pinned["path"])
        web.run("delta", "pull", "--authfile", "auth.json")
        machine.run(["nix-store", "--verify-path", pinned["path"]])
