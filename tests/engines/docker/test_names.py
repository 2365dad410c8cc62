"""Docker's names (distribution/reference, normalize_test.go): familiar for Docker Hub, full for other registries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.engines.docker.data_root import repository_of
from nixoci.engines.docker.names import familiar_names
from nixoci.errors import StoreError
from nixoci.oci.digest import Digest
from nixoci.oci.reference import Reference

DIGEST = Digest.of(b"x")


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("docker.io/library/nginx:1.27", "nginx:1.27"),
        ("docker.io/foo/bar:1", "foo/bar:1"),
        ("docker.io/library/foo/bar:1", "library/foo/bar:1"),
        ("quay.io/library/nginx:1", "quay.io/library/nginx:1"),
        ("localhost:5000/nginx:1", "localhost:5000/nginx:1"),
        (f"docker.io/library/nginx@{DIGEST}", f"nginx@{DIGEST}"),
        ("index.docker.io/nginx:1", "nginx:1"),
    ],
)
def test_a_name_is_familiar(reference: str, name: str) -> None:
    assert familiar_names([reference], []) == [name]


def test_each_repository_is_found_by_each_digest() -> None:
    names = familiar_names(["docker.io/library/a:1", "docker.io/library/a:2", "quay.io/b:1"], [DIGEST])
    assert names == ["a:1", "a:2", "quay.io/b:1", f"a@{DIGEST}", f"quay.io/b@{DIGEST}"]


def test_a_repository_named_like_a_digest_is_refused() -> None:
    with pytest.raises(StoreError, match="Docker takes sha256 for a digest"):
        familiar_names(["docker.io/library/sha256:1"], [])
    assert familiar_names(["quay.io/sha256:1"], []) == ["quay.io/sha256:1"]


@given(
    st.from_regex(
        r"([a-z0-9]{1,5}\.io(:[0-9]{2,4})?/)?[a-z0-9]{1,6}(/[a-z0-9]{1,6}){0,2}:[a-z0-9]{1,6}", fullmatch=True
    )
)
def test_a_name_means_the_same_image_again(text: str) -> None:
    reference = Reference.parse(text)
    if reference.repository != "docker.io/library/sha256":
        (name,) = familiar_names([str(reference)], [])
        assert Reference.parse(name) == reference
        assert Reference.parse(repository_of(name)).repository == reference.repository
