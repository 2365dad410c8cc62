"""Every block of code in the documentation is run by a test, or has a reason here why none runs it."""

from __future__ import annotations

import pytest

from nixoci.container.model import Deployment
from nixoci.document import parse
from tests.support.pages import ROOT, Block, blocks

RECIPE = "tests/host/test_readme.py::test_the_recipe"
MODULES = "tests/host/test_modules.py::test_the_modules_of_the_documentation"
EXAMPLE = "tests/host/test_containers.py::test_the_worked_example_of_the_documentation_works"
SCRIPT = "tests/host/test_python_example.py::test_it_says_what_it_made"
DEPLOYMENTS = "tests/test_documented_blocks.py::test_json_on_the_page_on_containers_is_a_deployment"
BY_DOCTESTS = "tests/test_doctests.py::test_examples_of_a_page"
SIGNED = "tests/host/test_signed_image_delta.py::test_an_update_needs_no_lock_of_another_machine"
DELTAS = "tests/host/test_image_delta.py"
DOCKER = "tests/host/test_docker.py::test_the_commands_of_the_documentation"
CRI = "tests/host/test_containerd.py"
TYPED_DOCKER, TYPED_CONTAINERD, TYPED_CACHE = (
    f"tests/host/test_typed_pages.py::{name}"
    for name in (
        "test_docker_runs_the_image_of_a_lock_and_forgets_it",
        "test_containerd_runs_the_image_of_a_lock",
        "test_a_release_is_published_beside_a_cache",
    )
)
SUBSTITUTER = "tests/host/test_substituter.py::test_an_update_travels_as_a_delta"
HOOK = "tests/host/test_publish_hook.py::test_each_build_is_published"
COMPOSE = "tests/host/test_readme.py::test_a_project_of_compose_becomes_units_and_a_module"

RUN = {
    ("README.md", "$ nixoci add docker.io/library/nginx:1.27 --name web"): RECIPE,
    ("README.md", "{ virtualisation.nixoci = {"): MODULES,
    ("README.md", "$ nixoci switch $(nix-build"): RECIPE,
    ("README.md", "$ nixoci update $ nixoci generate"): RECIPE,
    ("README.md", "$ nixoci switch --rollback"): RECIPE,
    ("README.md", "$ nixoci gc-roots"): RECIPE,
    ("README.md", "$ podman rm --force web"): RECIPE,
    ("README.md", "$ ./scripts/demo"): "tests/host/test_demo.py::test_the_demo_serves_a_page_and_copies_nothing",
    ("docs/containers.md", '{ "images": {'): EXAMPLE,
    ("docs/containers.md", '{"quadlets": {'): DEPLOYMENTS,
    ("docs/containers.md", "$ systemctl restart nixoci-images"): (
        "tests/host/test_containers.py::test_the_commands_of_the_documentation_show_the_mounted_images"
    ),
    ("docs/containerd.md", '{"engines":'): TYPED_CONTAINERD,
    ("docs/containerd.md", "$ nixoci generate"): TYPED_CONTAINERD,
    ("docs/containerd.md", "$ nixoci image-store store result"): TYPED_CONTAINERD,
    ("docs/containerd.md", "# /etc/containerd/config.toml"): f"{CRI}::test_pods_run_images_in_place",
    ("docs/containerd.md", "apiVersion: v1"): f"{CRI}::test_the_manifest_of_the_documentation",
    ("docs/containerd.md", "$ nixoci register containerd store --namespace moby"): (
        "tests/host/test_docker_containerd_store.py::test_docker_runs_images_in_place"
    ),
    ("docs/containers.md", "$ nixoci generate --nixoci nixoci --containers"): (
        "tests/host/test_readme.py::test_units_of_a_lock_are_built_and_put_in_place"
    ),
    ("docs/delta-format.md", ">>> "): BY_DOCTESTS,
    ("docs/deltas.md", "$ nixoci send"): "tests/host/test_delta_command.py::test_the_commands_of_the_documentation",
    ("docs/docker.md", '{"engines":'): TYPED_DOCKER,
    ("docs/docker.md", "$ nixoci generate"): TYPED_DOCKER,
    ("docs/docker.md", "$ docker rm"): TYPED_DOCKER,
    ("docs/docker.md", '{"imageStore":'): DOCKER,
    ("docs/docker.md", "$ nixoci units docker.json"): DOCKER,
    ("docs/docker.md", "services: web:"): "tests/host/test_docker.py::test_compose_starts_registered_images",
    ("docs/from-compose.md", "$ nixoci import --add"): COMPOSE,
    ("docs/from-compose.md", "$ nixoci module containers.json"): COMPOSE,
    ("docs/layer-cache.md", "$ nix-build --attr layerCache"): (
        "tests/host/test_nix.py::test_a_layer_cache_is_built_reproducibly_and_each_layer_once"
    ),
    ("docs/layer-cache.md", "$ nixoci layer-cache cache"): "tests/cli/test_layer_cache.py::test_caches_are_joined",
    ("docs/os-images.md", "$ nix-build --attr images.web"): (
        "tests/host/test_readme.py::test_a_store_for_machines_without_nix"
    ),
    ("docs/containers.md", "import sys from pathlib import Path"): EXAMPLE,
    ("docs/python.md", "import shutil import subprocess"): SCRIPT,
    ("docs/python.md", ">>> "): BY_DOCTESTS,
    ("docs/registry-deltas.md", "$ nixoci update web"): f"{DELTAS}::test_an_update_comes_as_a_delta",
    ("docs/registry-deltas.md", "$ nixoci prefetch web"): f"{DELTAS}::test_an_update_comes_as_a_delta",
    ("docs/registry-deltas.md", "$ nix-store --generate-binary-cache-key"): SIGNED,
    ("docs/registry-deltas.md", "extra-trusted-public-keys"): SIGNED,
    ("docs/registry-deltas.md", "$ nixoci delta push web --format"): (
        f"{DELTAS}::test_an_artifact_of_oci_delta_needs_no_locked_hash"
    ),
    ("docs/rootless.md", "$ nixoci generate"): "tests/host/test_readme.py::test_a_user_s_podman_runs_the_images",
    ("docs/rootless.md", "$ nixoci image-store --rootless"): (
        "tests/host/test_rootless.py::test_the_commands_of_the_documentation"
    ),
    ("docs/rootless.md", "{ virtualisation.nixoci = {"): MODULES,
    ("docs/substituter.md", "$ nix-store --generate-binary-cache-key"): TYPED_CACHE,
    ("docs/substituter.md", "$ options="): TYPED_CACHE,
    ("docs/substituter.md", "# /etc/systemd/system/nixoci-substituter.socket"): SUBSTITUTER,
    ("docs/substituter.md", "# /etc/systemd/system/nixoci-substituter.service [Unit]"): SUBSTITUTER,
    ("docs/substituter.md", "# /etc/systemd/system/nixoci-substituter.service.d/login.conf"): (
        "tests/host/test_substituter.py::test_a_private_cache"
    ),
    ("docs/substituter.md", "#!/bin/sh # /etc/nix/post-build-hook"): HOOK,
    ("docs/substituter.md", "# /etc/nix/nix.conf post-build-hook"): HOOK,
    ("docs/substituter.md", "$ systemctl daemon-reload"): SUBSTITUTER,
    ("docs/substituter.md", "substituters = "): SUBSTITUTER,
    ("docs/substituter.md", "services.nixoci.substituter = {"): "tests/host/test_modules.py::test_the_substituter",
    ("docs/substituter.md", '{ "version": 1,'): "tests/publish/test_index.py::test_the_index_of_the_documentation",
}
"""The test that runs a block, by its page and the start of its text."""

_NEEDS_NIXPKGS = "needs the whole of nixpkgs, which the test host cannot fetch"
_NEEDS_CONTAINERD = "needs containerd 2.4; tests/host/test_layer_cache.py does the same where one is given"
_NEEDS_CRIO = "needs CRI-O; tests/host/test_crio.py does the same where one is given"
_NEEDS_URL = "fetches the flake from the network; tests/host/test_flake.py runs the same from a directory"

NOT_RUN = {
    ("README.md", '{ inputs.nixoci.url = "URL";'): f"{_NEEDS_NIXPKGS}; tests/host/test_flake.py evaluates the template",
    ("README.md", "$ git clone URL nixoci"): f"{_NEEDS_NIXPKGS}; the recipe's test starts from a copy of this checkout",
    ("README.md", "registry, OCI layout, archive"): "a picture",
    ("docs/containerd.md", "$ nixoci register containerd store --namespace k8s.io --address"): (
        "needs k3s, which the test host has not; tests/host/test_containerd.py names the socket of its containerd"
    ),
    ("docs/deltas.md", "$ nixoci copy"): "needs a machine called edge; tests/host/test_delta.py copies over ssh",
    ("docs/deltas.md", "nixoci.lib.delta {"): f"{_NEEDS_NIXPKGS}; tests/host/test_flake.py builds a delta of two paths",
    ("docs/deltas.md", "$ nix run URL#delta"): _NEEDS_URL,
    ("docs/deltas.md", "$ cp $(nix run URL#delta"): _NEEDS_URL,
    ("docs/deltas.md", "# curl --fail --silent"): "a web server's address; tests/host/test_delta_command.py receives",
    (
        "docs/deltas.md",
        "$ nix copy --to s3://cache",
    ): "a bucket's address; tests/host/test_flake.py copies to a directory",
    ("docs/deltas.md", "# nix copy --from https://cache.example"): "the address of a cache; as above",
    ("docs/kubernetes.md", "$ nix-build --attr imageStore"): _NEEDS_CRIO,
    ("docs/kubernetes.md", "# /etc/crio"): _NEEDS_CRIO,
    ("docs/kubernetes.md", "# kubectl apply"): "needs a cluster; tests/host/test_crio.py runs a pod without one",
    ("docs/layer-cache.md", "# /etc/containerd/config.toml"): _NEEDS_CONTAINERD,
    ("docs/layer-cache.md", "$ ctr images pull"): _NEEDS_CONTAINERD,
    (
        "docs/layer-cache.md",
        "# /etc/systemd/system/nix-var",
    ): "tests/host/test_layer_cache.py makes the mount, without the containerd that it is ordered after",
    (
        "docs/os-images.md",
        "$ nixoci image-store --self-contained",
    ): "tests/host/test_os_images.py starts the service, and enables it in the image of an operating system",
    (
        "docs/os-images.md",
        "$ nixoci register docker",
    ): "tests/host/test_docker.py runs it with a store on a file system that EROFS files can be mounted from",
    (
        "docs/os-images.md",
        "# mmdebstrap",
    ): "takes minutes; tests/host/test_os_images.py does the same with NIXOCI_OS_IMAGES",
    ("docs/python.md", "{ imports = ["): f"{_NEEDS_NIXPKGS}; tests/host/test_nix_text.py imports such a module",
    (
        "docs/registries.md",
        "{ pkgs, ... }:",
    ): f"{_NEEDS_NIXPKGS}; tests/host/test_nix.py gives a build the variable and the file",
    ("docs/rootless.md", "[storage]"): "shown, not typed: tests/host/test_modules.py compares the store's own file",
}
"""The reason why no test runs a block."""


def _listed(table: dict[tuple[str, str], str], page: str, start: str) -> list[tuple[str, str]]:
    return [(where, text) for where, text in table if where == page and start.startswith(text)]


@pytest.mark.parametrize("block", blocks(), ids=lambda block: f"{block.page}: {block.start[:40]}")
def test_a_block_is_run_or_has_a_reason(block: Block) -> None:
    page, start = block.page, block.start
    found = _listed(RUN, page, start) + _listed(NOT_RUN, page, start)
    assert len(found) == 1, f"{page}: {start!r}: run it in a test and list that under RUN, or list it under NOT_RUN"


@pytest.mark.parametrize("table", [RUN, NOT_RUN], ids=["run", "not run"])
def test_a_block_that_is_listed_is_in_the_documentation(table: dict[tuple[str, str], str]) -> None:
    starts = [(block.page, block.start) for block in blocks()]
    for page, text in table:
        assert any(where == page and start.startswith(text) for where, start in starts), (page, text)


@pytest.mark.parametrize(
    "text",
    [block.text for block in blocks() if (block.page, block.language) == ("docs/containers.md", "json")],
    ids=lambda text: text.split()[1],
)
def test_json_on_the_page_on_containers_is_a_deployment(text: str) -> None:
    deployment = parse(Deployment, text.encode(), what="docs/containers.md", strict=True)
    assert deployment != Deployment()


@pytest.mark.parametrize("test", sorted(set(RUN.values())))
def test_the_test_of_a_block_exists(test: str) -> None:
    file, _, name = test.partition("::")
    assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")
