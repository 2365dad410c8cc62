from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.layout import write_layout

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Result

    Run = Callable[..., Result]


@pytest.mark.parametrize(
    ("shell", "says"), [("bash", "complete -o nosort"), ("zsh", "#compdef nixoci"), ("fish", "complete --no-files")]
)
def test_the_script_of_a_shell(nixoci: Run, shell: str, says: str) -> None:
    result = nixoci("completion", shell)
    assert says in result.out
    assert f"_NIXOCI_COMPLETE={shell}_complete" in result.out


def complete(nixoci: Run, monkeypatch: pytest.MonkeyPatch, *words: str) -> list[str]:
    """Return the completions that bash gets for the last word."""
    with monkeypatch.context() as patched:
        patched.setenv("_NIXOCI_COMPLETE", "bash_complete")
        patched.setenv("COMP_WORDS", " ".join(["nixoci", *words]))
        patched.setenv("COMP_CWORD", str(len(words)))
        return [line.removeprefix("plain,") for line in nixoci().out.split()]


@pytest.mark.parametrize("verb", ["show", "update", "remove", "outdated", "verify", "prefetch"])
def test_names_come_from_the_lock(tmp_path: Path, nixoci: Run, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    assert complete(nixoci, monkeypatch, verb, "") == []
    write_layout(tmp_path / "web", [])
    nixoci("add", "oci:web", "--platform", "linux/amd64")
    nixoci("add", "oci:web", "--platform", "linux/amd64", "--name", "work", "--lock", "other.json")
    assert complete(nixoci, monkeypatch, verb, "w") == ["web"]
    assert complete(nixoci, monkeypatch, verb, "--lock", "other.json", "w") == ["work"]
    assert complete(nixoci, monkeypatch, verb, "x") == []


def test_verbs_complete(nixoci: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert complete(nixoci, monkeypatch, "pre") == ["prefetch"]
