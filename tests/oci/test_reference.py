from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.errors import InvalidReferenceError
from nixoci.oci.digest import Digest
from nixoci.oci.reference import Reference

DIGEST = Digest.of(b"")
EXAMPLE = "expected [host[:port]/]path[:tag][@digest], for example docker.io/library/nginx:1.27"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.27", "docker.io/library/nginx:1.27"),
        ("docker.io/nginx", "docker.io/library/nginx:latest"),
        ("index.docker.io/nginx", "docker.io/library/nginx:latest"),
        ("library/nginx", "docker.io/library/nginx:latest"),
        ("grafana/loki:3.1.0", "docker.io/grafana/loki:3.1.0"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        ("registry:5000/app:v1", "registry:5000/app:v1"),
        ("127.0.0.1:5000/a/b/c:1", "127.0.0.1:5000/a/b/c:1"),
        ("[::1]:5000/app", "[::1]:5000/app:latest"),
        ("quay.io/a__b/c-d--e.f", "quay.io/a__b/c-d--e.f:latest"),
        ("Registry/app", "Registry/app:latest"),
        (f"nginx@{DIGEST}", f"docker.io/library/nginx@{DIGEST}"),
        (f"nginx:1.27@{DIGEST}", f"docker.io/library/nginx:1.27@{DIGEST}"),
    ],
)
def test_references_are_written_out(text: str, expected: str) -> None:
    assert str(Reference.parse(text)) == expected


def test_the_digest_is_more_exact_than_the_tag() -> None:
    assert Reference.parse(f"nginx:1.27@{DIGEST}").exact == f"docker.io/library/nginx@{DIGEST}"
    assert Reference.parse("nginx:1.27").exact == "docker.io/library/nginx:1.27"


def test_at_a_digest_the_tag_goes() -> None:
    assert str(Reference.parse("nginx:1.27").at(DIGEST)) == f"docker.io/library/nginx@{DIGEST}"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "'' is not a repository name"),
        ("Nginx", "'Nginx' is not a repository name; names are lower case"),
        ("quay.io/App", "'App' is not a repository name; names are lower case"),
        ("nginx:", "'' is not a tag"),
        ("nginx:-1", "'-1' is not a tag"),
        (f"nginx:{'t' * 129}", f"{'t' * 129!r} is not a tag"),
        ("quay.io/", "'' is not a repository name"),
        ("quay.io//app", "'/app' is not a repository name"),
        ("quay.io/a___b", "'a___b' is not a repository name"),
        ("quay.io/../etc", "'../etc' is not a repository name"),
        ("-host.io/app", "'-host.io' is not a host[:port]"),
        ("host:port/app", "'host:port' is not a host[:port]"),
        ("ng inx", "'ng inx' is not a repository name"),
        ("nginx\n", "'nginx\\n' is not a repository name"),
        ("a" * 64, "64 hex digits are an image id, not a name"),
        (f"quay.io/{'a' * 250}", "the repository name is longer than 255 characters"),
    ],
)
def test_what_is_no_reference_is_refused(text: str, why: str) -> None:
    with pytest.raises(InvalidReferenceError) as caught:
        Reference.parse(text)
    assert str(caught.value) == f"reference {text[:200]!r}: {why}; {EXAMPLE}"


def test_a_digest_is_checked() -> None:
    with pytest.raises(
        InvalidReferenceError, match=r"^reference 'nginx@sha256:12': digest 'sha256:12': expected sha256:<64 hex"
    ):
        Reference.parse("nginx@sha256:12")


components = st.from_regex(r"[a-z0-9]+(([._]|__|-{1,3})[a-z0-9]+){0,2}", fullmatch=True).filter(
    lambda text: len(text) < 40
)
hosts = st.one_of(
    st.just("localhost"),
    st.from_regex(r"[a-z0-9]([a-zA-Z0-9-]{0,5}[a-z0-9])?\.[a-z]{2,3}(:[0-9]{1,5})?", fullmatch=True),
    st.from_regex(r"[a-z]{1,8}:[0-9]{1,5}", fullmatch=True),
)
tags = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}", fullmatch=True)


@given(hosts, st.lists(components, min_size=1, max_size=4), st.none() | tags, st.none() | st.just(DIGEST))
def test_a_full_reference_is_its_own_text(host: str, path: list[str], tag: str | None, digest: Digest | None) -> None:
    text = f"{host}/{'/'.join(path)}" + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
    reference = Reference.parse(text)
    assert str(reference) == text + ("" if tag or digest else ":latest")
    assert (reference.domain, reference.path, reference.short_name) == (host, "/".join(path), path[-1])
    assert Reference.parse(str(reference)) == reference


@given(st.text() | st.text(alphabet="aA0./:@-_[]", max_size=30))
def test_what_is_taken_is_stable(text: str) -> None:
    with suppress(InvalidReferenceError):
        reference = Reference.parse(text)
        assert Reference.parse(str(reference)) == reference
