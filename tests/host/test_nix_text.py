"""The escaper and the names against Nix's own evaluator: Nix reads the value that was written."""

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
from nixoci.container.notation import LONGEST
from nixoci.document import unstructure
from nixoci.lock.names import blob_name
from nixoci.nix_language.default_nix import render_default_nix
from nixoci.nix_language.escape import string, value
from nixoci.nix_language.module import render_module
from nixoci.nix_language.shipped import shipped
from tests.nix_language.locks import digest, image, lock, platform

if TYPE_CHECKING:
    from tests.host.machine import Machine

LOCK = lock(web=image("docker.io/library/nginx:1.27", amd64=platform("web", "base", "nginx")))
TOOLS = " ".join(
    f'{name} = "/{name}";'
    for name in (
        "nixoci",
        "composefs",
        "cacert",
        "crun",
        "runc",
        "util-linux",
        "systemd",
        "bash",
        "coreutils",
        "containerd",
    )
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
# the names that a variable and a label may have
VARIABLES = st.dictionaries(
    st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="="), min_size=1)
    | st.text(st.sampled_from("\"\\${}'#/*a;"), min_size=1)
    | st.sampled_from(["if", "or", "a b", "${", "$${", "\\${", "''", "\\", '"', "\\n", "${a}"]),
    TEXT,
    max_size=3,
)
HEALTH_TESTS = st.just(["NONE"]) | st.builds(
    lambda kind, line: [kind, line], st.sampled_from(["CMD", "CMD-SHELL"]), TEXT.filter(bool)
)
CONTAINERS = st.builds(
    Container,
    image=st.just("web"),
    backend=st.sampled_from([Backend.PODMAN, Backend.ROOTFS]),
    entrypoint=st.none() | st.lists(TEXT, max_size=3),
    cmd=st.lists(TEXT, max_size=3),
    environment=VARIABLES,
    labels=VARIABLES,
    user=st.none() | TEXT,
    extra_options=st.lists(TEXT, max_size=3),
    auto_start=st.booleans(),
    stop_timeout=st.integers(0, LONGEST),
    restart=st.sampled_from(Restart),
    healthcheck=st.builds(HealthcheckOptions, test=st.none() | HEALTH_TESTS),
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
    volumes=st.dictionaries(NAMES, st.builds(Volume, labels=VARIABLES), max_size=2),
    networks=st.dictionaries(NAMES, st.builds(Network, labels=VARIABLES, internal=st.booleans()), max_size=2),
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
    text = render_module(deployment, lock=LOCK)
    found = evaluate(machine, f'builtins.removeAttrs ({text}).virtualisation.nixoci [ "lock" ]')
    assert found == {"enable": True, **unstructure(deployment)}


@BATCHES
@given(deployment=DEPLOYMENTS)
def test_nix_reads_a_deployment_in_an_expression_as_it_was(machine: Machine, deployment: Deployment) -> None:
    text = render_default_nix(LOCK, deployment=deployment)
    given = 'packages = throw "no packages"; podman = "/p"; seccomp = "/s"; system = "x86_64-linux";'
    found = evaluate(
        machine, f'builtins.removeAttrs (({text}) {{ {given} {TOOLS} }}).units.deployment [ "images" "imageStore" ]'
    )
    assert found == unstructure(deployment)


@pytest.mark.parametrize("text", ['"; evil = true; x = "', "${toString 1}", '\\${"x"}', "''${1}''", "*/ # /*"])
def test_no_text_becomes_code(machine: Machine, text: str) -> None:
    assert evaluate(machine, value({"x": text, text: 1})) == {"x": text, text: 1}


NAMES_OF_IMAGES = [
    ("nginx", "docker.io/library/nginx:1.27", "nginx-1.27"),
    ("prom", "quay.io/prometheus/prometheus:v2.53.0", "prom-2.53.0"),
    ("nginx", "docker.io/library/nginx:latest", "nginx-0-latest"),
    ("nginx", "docker.io/library/nginx:version9", "nginx-0-version9"),
    ("nginx", f"docker.io/library/nginx@{digest('x')}", "nginx"),
    ("nginx", f"docker.io/library/nginx:1.27@{digest('x')}", "nginx-1.27"),
    ("nginx", "localhost:5000/nginx", "nginx"),
    ("nginx", "localhost:5000/nginx:1.27", "nginx-1.27"),
    ("nginx", "[::1]:5000/nginx:1.27", "nginx-1.27"),
    ("web", "oci:layouts/web:2.0", "web-2.0"),
    ("web", "oci:layout", "web"),
    ("web", "oci-archive:web.tar", "web"),
    ("a/b c", "docker.io/library/nginx:1", "a-b-c-1"),
    (".hidden", "docker.io/library/nginx:1", "image.hidden-1"),
    ("é", "docker.io/library/nginx:1", "image--1"),
    ("n" * 300, "docker.io/library/nginx:" + "t" * 128, f"{'n' * 70}-0-{'t' * 128}"),
]


def test_an_image_is_named_by_its_name_and_its_tag(machine: Machine) -> None:
    found = evaluate(
        machine,
        f"map (pair: ({shipped('reference.nix')}).storeName (builtins.head pair) (builtins.elemAt pair 1))"
        f" {value([[name, reference] for name, reference, _ in NAMES_OF_IMAGES])}",
    )
    assert found == [expected for _, _, expected in NAMES_OF_IMAGES]
    assert max(map(len, found)) + len(".drv") <= 211


def test_nix_splits_a_name_into_name_and_version(machine: Machine) -> None:
    names = ["web-server-1.27-alpine", "web-server-0-latest", "web-server-2"]
    split = evaluate(machine, f"map builtins.parseDrvName {value(names)}")
    assert [(part["name"], part["version"]) for part in split] == [
        ("web-server", "1.27-alpine"),
        ("web-server", "0-latest"),
        ("web-server", "2"),
    ]


@pytest.mark.parametrize(
    ("reference", "repository"),
    [
        ("docker.io/library/nginx:1.27", "docker.io/library/nginx"),
        ("localhost:5000/nginx", "localhost:5000/nginx"),
        (f"host:1/a/b:t@{digest('x')}", "host:1/a/b"),
        (f"host/a@{digest('x')}", "host/a"),
        ("oci:/layout:2.0", None),
        ("oci-archive:web.tar", None),
    ],
)
def test_the_repository_of_a_reference(machine: Machine, reference: str, repository: str | None) -> None:
    assert evaluate(machine, f"({shipped('reference.nix')}).repository {string(reference)}") == repository


def test_blobs_have_the_name_that_prefetching_gives_them(machine: Machine) -> None:
    named = evaluate(
        machine,
        f'(({shipped("blob.nix")}) {{ system = "x86_64-linux"; nixoci = "/n"; cacert = "/c"; impureEnvVars = [ ]; }}'
        f' {{ image = "web"; repository = "host/web"; isManifest = false; digest = {string(str(digest("base")))}; }}'
        ").name",
    )
    assert named == blob_name(digest("base"))
