from __future__ import annotations

import pytest

from nixoci.lock.names import blob_name, podman_name
from nixoci.oci.digest import Digest

DIGEST = "sha256:" + "0" * 64


def test_a_blob_is_named_by_its_digest() -> None:
    assert blob_name(Digest.parse(DIGEST)) == "sha256-" + "0" * 64


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("docker.io/library/nginx:1.27", "docker.io/library/nginx:1.27"),
        (f"host:1/a/b:t@{DIGEST}", f"host:1/a/b:t@{DIGEST}"),
        (f"host/a@{DIGEST}", f"host/a@{DIGEST}"),
        ("oci:layouts/web:2.0", "localhost/web:2.0"),
        ("oci:layout", "localhost/web:latest"),
        ("oci-archive:web.tar", "localhost/web:latest"),
        ("docker-archive:/a/web.tar:2.0", "localhost/web:2.0"),
        ("docker-archive:web.tar:docker.io/library/nginx:1.27", "localhost/web:1.27"),
    ],
)
def test_podman_lists_local_images_under_localhost(reference: str, expected: str) -> None:
    assert podman_name("web", reference) == expected
