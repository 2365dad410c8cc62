from __future__ import annotations

import pytest

from nixoci.errors import InvalidReferenceError
from nixoci.image_store.names import big_data_file, listed_name

DIGEST = "sha256:" + 64 * "a"


@pytest.mark.parametrize(
    ("item", "file"),
    [("manifest", "manifest"), ("a.b", "a.b"), ("manifest-sha256:ab", "=bWFuaWZlc3Qtc2hhMjU2OmFi"), ("A", "=QQ==")],
)
def test_big_data_files_are_named_as_containers_storage_names_them(item: str, file: str) -> None:
    assert big_data_file(item) == file


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("docker.io/library/nginx:1.27", "docker.io/library/nginx:1.27"),
        ("nginx", "docker.io/library/nginx:latest"),
        ("localhost/a:B_c.d-e", "localhost/a:B_c.d-e"),
        ("registry:5000/a/b__c:1", "registry:5000/a/b__c:1"),
        ("127.0.0.1:5000/a:1", "127.0.0.1:5000/a:1"),
        ("[::1]:5000/a:1", "[::1]:5000/a:1"),
        (f"quay.io/a/b@{DIGEST}", f"quay.io/a/b@{DIGEST}"),
        (f"quay.io/a/b:1@{DIGEST}", "quay.io/a/b:1"),
    ],
)
def test_references_are_listed_in_full_with_a_tag_or_a_digest(reference: str, name: str) -> None:
    assert listed_name(reference) == name


@pytest.mark.parametrize("reference", ["docker.io/Nginx:1", "docker.io/a:b:c", "", "a.b/c:1\n", 64 * "a"])
def test_what_podman_does_not_read_is_refused(reference: str) -> None:
    with pytest.raises(InvalidReferenceError):
        listed_name(reference)
