"""The escaper and the names against Nix's own evaluator: what is written is what Nix reads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nixoci.container.model import (
    Backend,
    Container,
    Deployment,
    HealthcheckOptions,
    Network,
    Restart,
    Settings,
    Volume,
)
from nixoci.document import unstructure
from nixoci.lock.names import blob_name, store_name
from nixoci.nix_language.escape import shipped, string, value
from nixoci.nix_language.generate import generate
from nixoci.nix_language.module import generate_module
from tests.nix_language.locks import digest, image, lock, platform

if TYPE_CHECKING:
    from tests.host.machine import Machine

LOCK = lock(web=image("docker.io/library/nginx:1.27", amd64=platform("web", "base", "nginx")))
TOOLS = " ".join(
    f'{name} = "/{name}";'
    for name in ("nixoci", "composefs", "oras", "cacert", "crun", "runc", "util-linux", "systemd", "bash", "coreutils")
)

# One start of Nix reads a whole batch, so few examples are many values.
BATCHES = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.large_base_example],
)

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
RISKY_TEXT = st.text(st.sampled_from("\"\\${}'\n\r\t #/*a;")).map(lambda text: text.replace("a", "${a}"))
TEXT = (
    ANY_TEXT | RISKY_TEXT | st.sampled_from(["if", "or", "${", "$${", "\\${", "''", "\\", '"', "\\\\n", "\b", "\x7f"])
)
SCALAR = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)
    | TEXT
)
# a set with an outPath or a __toString is a string to Nix's JSON printer
NAME = TEXT.filter(lambda name: name not in {"outPath", "__toString"})
VALUE = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAME, inner, max_size=4), max_leaves=8
)


def evaluate(machine: Machine, expression: str) -> Any:
    """Return the JSON value of an expression."""
    command = ["nix-instantiate", "--eval", "--strict", "--json", "--read-write-mode", "-"]
    return json.loads(machine.run(command, input=expression).stdout)


SECTIONS = st.dictionaries(NAME, VALUE, max_size=3)
LABELS = st.dictionaries(NAME, TEXT, max_size=3)
CONTAINERS = st.builds(
    Container,
    image=st.just("web"),
    backend=st.sampled_from([Backend.PODMAN, Backend.ROOTFS]),
    entrypoint=st.none() | st.lists(TEXT, max_size=3),
    cmd=st.lists(TEXT, max_size=3),
    environment=LABELS,
    labels=LABELS,
    user=st.none() | TEXT,
    extra_options=st.lists(TEXT, max_size=3),
    auto_start=st.booleans(),
    stop_timeout=st.integers(0, 2**31),
    restart=st.sampled_from(Restart),
    healthcheck=st.builds(HealthcheckOptions, test=st.none() | st.lists(TEXT, max_size=3)),
    settings=st.builds(
        Settings,
        unit=st.dictionaries(st.sampled_from(["Unit", "Service", "Install"]), SECTIONS),
        quadlet=SECTIONS,
    ),
)
NAMES = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,9}", fullmatch=True) | st.sampled_from(["if", "0", "a.b", "or"])
DEPLOYMENTS = st.builds(
    Deployment,
    containers=st.dictionaries(NAMES.map("c{}".format), CONTAINERS, max_size=4),
    volumes=st.dictionaries(NAMES, st.builds(Volume, labels=LABELS), max_size=2),
    networks=st.dictionaries(NAMES, st.builds(Network, labels=LABELS, internal=st.booleans()), max_size=2),
)


@BATCHES
@given(texts=st.lists(TEXT, min_size=20, max_size=200))
def test_nix_reads_every_string_as_it_was(machine: Machine, texts: list[str]) -> None:
    assert evaluate(machine, value(texts)) == texts


@BATCHES
@given(values=st.lists(VALUE, min_size=10, max_size=60))
def test_nix_reads_every_json_value_as_it_was(machine: Machine, values: list[Any]) -> None:
    assert evaluate(machine, value(values)) == values


@BATCHES
@given(names=st.sets(NAME, min_size=20, max_size=200))
def test_nix_reads_every_attribute_name_as_it_was(machine: Machine, names: set[str]) -> None:
    assert set(evaluate(machine, value(dict.fromkeys(names)))) == names


@BATCHES
@given(deployment=DEPLOYMENTS)
def test_nix_reads_a_deployment_in_a_module_as_it_was(machine: Machine, deployment: Deployment) -> None:
    text = generate_module(deployment, lock=LOCK)
    found = evaluate(machine, f'builtins.removeAttrs ({text}).virtualisation.nixoci [ "lock" ]')
    assert found == {"enable": True, **unstructure(deployment)}


@BATCHES
@given(deployment=DEPLOYMENTS)
def test_nix_reads_a_deployment_in_an_expression_as_it_was(machine: Machine, deployment: Deployment) -> None:
    text = generate(LOCK, deployment=deployment)
    given = 'packages = throw "no packages"; podman = "/p"; seccomp = "/s"; system = "x86_64-linux";'
    found = evaluate(
        machine, f'builtins.removeAttrs (({text}) {{ {given} {TOOLS} }}).units.deployment [ "images" "imageStore" ]'
    )
    assert found == unstructure(deployment)


@pytest.mark.parametrize("text", ['"; evil = true; x = "', "${toString 1}", '\\${"x"}', "''${1}''", "*/ # /*"])
def test_no_text_becomes_code(machine: Machine, text: str) -> None:
    assert evaluate(machine, value({"x": text, text: 1})) == {"x": text, text: 1}


HOSTS = st.sampled_from(["docker.io", "localhost:5000", "[::1]:5000", "oci:dir", "oci:/dir", "docker-archive:x.tar"])
TAGS = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,9}", fullmatch=True) | st.sampled_from(["v1", "latest", "1.2"])
REFERENCES = st.builds(
    lambda host, path, tag, suffix: f"{host}{path}{tag}{suffix}",
    HOSTS,
    st.sampled_from(["", "/nginx", "/library/nginx"]),
    TAGS.map(":{}".format) | st.just(""),
    st.sampled_from(["", f"@{digest('index')}"]),
)


@BATCHES
@given(images=st.lists(st.tuples(ANY_TEXT, REFERENCES), min_size=20, max_size=100))
def test_python_and_nix_give_an_image_the_same_name(machine: Machine, images: list[tuple[str, str]]) -> None:
    names = evaluate(
        machine,
        f"map (pair: ({shipped('reference.nix')}).storeName (builtins.head pair) (builtins.elemAt pair 1))"
        f" {value([list(pair) for pair in images])}",
    )
    assert names == [store_name(name, reference) for name, reference in images]


def test_nix_splits_names_into_name_and_version(machine: Machine) -> None:
    references = ["docker.io/library/nginx:1.27-alpine", "docker.io/library/nginx:latest", "docker.io/library/nginx:v2"]
    names = [store_name("web-server", reference) for reference in references]
    split = evaluate(machine, f"map builtins.parseDrvName {value(names)}")
    assert [(part["name"], part["version"]) for part in split] == [
        ("web-server", "1.27-alpine"),
        ("web-server", "0-latest"),
        ("web-server", "2"),
    ]


@pytest.mark.parametrize(
    ("reference", "repository", "shown"),
    [
        ("docker.io/library/nginx:1.27", "docker.io/library/nginx", "docker.io/library/nginx:1.27"),
        ("localhost:5000/nginx", "localhost:5000/nginx", "localhost:5000/nginx"),
        (f"host:1/a/b:t@{digest('x')}", "host:1/a/b", f"host:1/a/b:t@{digest('x')}"),
        (f"host/a@{digest('x')}", "host/a", f"host/a@{digest('x')}"),
        ("oci:/layout:2.0", None, "localhost/web:2.0"),
        ("oci-archive:web.tar", None, "localhost/web:latest"),
    ],
)
def test_what_follows_from_a_reference(machine: Machine, reference: str, repository: str | None, shown: str) -> None:
    parts = f"{{ inherit ({shipped('reference.nix')}) repository podmanName; }}"
    found = evaluate(
        machine,
        f"let parts = {parts}; in [ (parts.repository {string(reference)})"
        f' (parts.podmanName "web" {string(reference)}) ]',
    )
    assert found == [repository, shown]


def test_blobs_have_the_name_that_prefetching_gives_them(machine: Machine) -> None:
    named = evaluate(
        machine,
        f'(({shipped("blob.nix")}) {{ system = "x86_64-linux"; nixoci = "/n"; oras = "/o"; cacert = "/c"; }}'
        f' {{ image = "web"; repository = "host/web"; isManifest = false; digest = {string(str(digest("base")))}; }}'
        ").name",
    )
    assert named == blob_name(digest("base"))
