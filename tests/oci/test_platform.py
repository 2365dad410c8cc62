from __future__ import annotations

import pytest

from nixoci.errors import PlatformError
from nixoci.oci.model import Platform
from nixoci.oci.platform import best_match, machine_platform


def match(wanted: str, *offered: str) -> str | None:
    return best_match(Platform.parse(wanted), [(Platform.parse(text), text) for text in offered])


@pytest.mark.parametrize(
    ("wanted", "offered", "expected"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64"], "linux/amd64"),
        ("linux/amd64", ["windows/amd64", "linux/386"], None),
        ("linux/amd64", ["linux/amd64/v3"], None),
        ("linux/amd64", ["linux/amd64/v1"], "linux/amd64/v1"),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], "linux/amd64/v2"),
        ("linux/arm64", ["linux/arm64/v8"], "linux/arm64/v8"),
        ("linux/arm64/v8", ["linux/arm64"], "linux/arm64"),
        ("linux/arm64", ["linux/arm64/v8.1"], None),
        ("linux/arm64/v9", ["linux/arm64/v8", "linux/arm64/v8.2"], "linux/arm64/v8.2"),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6", "linux/arm64/v8"], "linux/arm/v6"),
        ("linux/arm/v6", ["linux/arm/v7", "linux/arm"], None),
        ("linux/arm/v7", ["linux/arm"], "linux/arm"),
        ("linux/arm", ["linux/arm/v6", "linux/arm/v7"], "linux/arm/v7"),
        ("linux/riscv64", ["linux/riscv64"], "linux/riscv64"),
        ("linux/riscv64/rva22u64", ["linux/riscv64", "linux/riscv64/rva22u64"], "linux/riscv64/rva22u64"),
        ("linux/riscv64/rva22u64", ["linux/riscv64"], "linux/riscv64"),
        ("linux/riscv64", ["linux/riscv64/rva22u64"], None),
    ],
)
def test_the_highest_variant_that_still_runs_is_taken(wanted: str, offered: list[str], expected: str | None) -> None:
    assert match(wanted, *offered) == expected


def test_of_equals_the_first_is_taken() -> None:
    platform = Platform.parse("linux/amd64")
    assert best_match(platform, [(platform, "first"), (platform, "second")]) == "first"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/v6", "linux/arm/v6"),
    ],
)
def test_a_platform_has_one_spelling(text: str, expected: str) -> None:
    assert str(Platform.parse(text).normalized) == expected


@pytest.mark.parametrize("text", ["linux", "linux/", "/amd64", "linux/arm/v7/x", ""])
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(PlatformError) as caught:
        Platform.parse(text)
    assert str(caught.value) == f"platform {text!r}: expected os/architecture[/variant], for example linux/amd64"


@pytest.mark.parametrize(
    ("machine", "expected"), [("x86_64", "linux/amd64"), ("aarch64", "linux/arm64"), ("armv6l", "linux/arm/v6")]
)
def test_machines_have_platforms(machine: str, expected: str) -> None:
    assert str(machine_platform(machine)) == expected


def test_an_unknown_machine_is_named() -> None:
    with pytest.raises(PlatformError) as caught:
        machine_platform("pdp11")
    assert str(caught.value) == "machine 'pdp11': its OCI platform is not known; give one with --platform"
