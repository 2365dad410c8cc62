from __future__ import annotations

import pytest

from nixoci.lock.names import blob_name, podman_name, store_name
from nixoci.oci.digest import Digest

DIGEST = "sha256:" + "0" * 64


def test_a_blob_is_named_by_its_digest() -> None:
    assert blob_name(Digest.parse(DIGEST)) == "sha256-" + "0" * 64


@pytest.mark.parametrize(
    ("name", "reference", "expected"),
    [
        ("nginx", "docker.io/library/nginx:1.27", "nginx-1.27"),
        ("prom", "quay.io/prometheus/prometheus:v2.53.0", "prom-2.53.0"),
        ("nginx", "docker.io/library/nginx:latest", "nginx-0-latest"),
        ("nginx", "docker.io/library/nginx:version9", "nginx-0-version9"),
        ("nginx", f"docker.io/library/nginx@{DIGEST}", "nginx"),
        ("nginx", f"docker.io/library/nginx:1.27@{DIGEST}", "nginx-1.27"),
        ("nginx", "localhost:5000/nginx", "nginx"),
        ("nginx", "localhost:5000/nginx:1.27", "nginx-1.27"),
        ("web", "oci:layouts/web:2.0", "web-2.0"),
        ("web", "oci:layout", "web"),
        ("web", "oci-archive:web.tar", "web"),
        ("a/b c", "docker.io/library/nginx:1", "a-b-c-1"),
        (".hidden", "docker.io/library/nginx:1", "image.hidden-1"),
        ("é", "docker.io/library/nginx:1", "image--1"),
    ],
)
def test_an_image_is_named_by_name_and_tag(name: str, reference: str, expected: str) -> None:
    assert store_name(name, reference) == expected


def test_the_longest_name_leaves_room_for_a_derivation() -> None:
    assert len(store_name("n" * 300, "docker.io/library/nginx:" + "t" * 128) + ".drv") <= 211


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("docker.io/library/nginx:1.27", "docker.io/library/nginx:1.27"),
        ("oci:layouts/web:2.0", "localhost/web:2.0"),
        ("oci:layout", "localhost/web:latest"),
        ("oci-archive:web.tar", "localhost/web:latest"),
        ("docker-archive:/a/web.tar:2.0", "localhost/web:2.0"),
    ],
)
def test_podman_lists_local_images_under_localhost(reference: str, expected: str) -> None:
    assert podman_name("web", reference) == expected
