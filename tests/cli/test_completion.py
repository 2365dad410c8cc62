from __future__ import annotations

import pwd
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.layout import write_layout, write_platforms
from tests.support.skopeo import install_program, install_skopeo

if TYPE_CHECKING:
    from collections.abc import Callable

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


@pytest.mark.parametrize("verb", ["show", "update", "remove", "outdated", "verify", "prefetch", "delta push"])
def test_names_come_from_the_lock(tmp_path: Path, nixoci: Run, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    words = verb.split()
    assert complete(nixoci, monkeypatch, *words, "") == []
    write_layout(tmp_path / "web", [])
    nixoci("add", "oci:web", "--platform", "linux/amd64")
    nixoci("add", "oci:web", "--platform", "linux/amd64", "--name", "work", "--lock", "other.json")
    assert complete(nixoci, monkeypatch, *words, "w") == ["web"]
    assert complete(nixoci, monkeypatch, *words, "--lock", "other.json", "w") == ["work"]
    assert complete(nixoci, monkeypatch, *words, "x") == []


def test_verbs_complete(nixoci: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert complete(nixoci, monkeypatch, "pre") == ["prefetch"]
    assert complete(nixoci, monkeypatch, "help", "pre") == ["prefetch"]
    assert complete(nixoci, monkeypatch, "help", "fetch") == [], "the builder's own are hidden"


def test_the_usual_platforms_complete(nixoci: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for verb in ("add", "extract"):
        assert complete(nixoci, monkeypatch, verb, "--platform", "linux/arm") == [
            *("linux/arm/v5", "linux/arm/v6", "linux/arm/v7", "linux/arm/v8", "linux/arm64")
        ]


def test_platforms_of_the_lock_complete(tmp_path: Path, nixoci: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert complete(nixoci, monkeypatch, "prefetch", "--platform", "") == []
    write_platforms(tmp_path / "web", "linux/amd64", "linux/arm64")
    write_platforms(tmp_path / "data", "linux/amd64", "linux/riscv64")
    nixoci("add", "oci:web", "--platform", "linux/amd64", "--platform", "linux/arm64")
    nixoci("add", "oci:data", "--platform", "linux/riscv64")
    every = ["linux/riscv64", "linux/amd64", "linux/arm64"]
    assert complete(nixoci, monkeypatch, "prefetch", "--platform", "") == every
    assert complete(nixoci, monkeypatch, "prefetch", "web", "--platform", "linux/a") == ["linux/amd64", "linux/arm64"]
    assert complete(nixoci, monkeypatch, "prefetch", "nothing", "--platform", "") == []
    assert complete(nixoci, monkeypatch, "delta", "pull", "--platform", "") == every
    assert complete(nixoci, monkeypatch, "delta", "pull", "data", "--platform", "") == ["linux/riscv64"]
    nixoci("add", "oci:data", "--platform", "linux/amd64", "--lock", "other.json")
    assert complete(nixoci, monkeypatch, "prefetch", "data", "--platform", "") == ["linux/riscv64"]
    assert complete(nixoci, monkeypatch, "prefetch", "data", "--lock", "other.json", "--platform", "") == [
        "linux/amd64"
    ]


def test_references_and_tags_come_from_the_lock(tmp_path: Path, nixoci: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    write_layout(tmp_path / "layout", [], tag="1.27-alpine")
    install_skopeo(monkeypatch, tmp_path, tmp_path / "layout")
    nixoci("add", "example.org/web:1.27-alpine", "--platform", "linux/amd64")
    nixoci("add", "oci:layout:1.27-alpine", "--platform", "linux/amd64")
    assert complete(nixoci, monkeypatch, "add", "ex") == ["example.org/web:1.27-alpine"]
    assert complete(nixoci, monkeypatch, "add", "o") == ["oci:layout:1.27-alpine", "oci:", "oci-archive:"]
    assert complete(nixoci, monkeypatch, "update", "web", "--tag", "") == ["1.27-alpine"]
    assert complete(nixoci, monkeypatch, "update", "--tag", "2") == []


def test_profiles_and_generations_complete(tmp_path: Path, nixoci: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    profiles = tmp_path / "nix/profiles"
    profiles.mkdir(parents=True)
    for name in ("edge", "edge-1-link", "edge-12-link"):
        (profiles / name).symlink_to("/nix/store/x")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert complete(nixoci, monkeypatch, "receive", "--profile", f"{profiles}/e") == [f"{profiles}/edge"]
    generations = [f"{profiles}/{name}" for name in ("edge", "edge-1-link", "edge-12-link")]
    for words in (["send", "--from"], ["send", "--from", "x", "--to"], ["copy", "--to", "ssh://edge"]):
        assert complete(nixoci, monkeypatch, *words, f"{profiles}/e") == generations
    assert complete(nixoci, monkeypatch, "receive", "--profile", "./x") == ["file,./x"], "another path is a file's"


BASH = """
{script}
COMP_LINE={line} COMP_POINT=${{#COMP_LINE}} COMP_WORDS=(nixoci {words}) COMP_CWORD={last}
_nixoci_completion nixoci
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def test_a_user_without_a_home_gets_completions(nixoci: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_: int) -> None:
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert complete(nixoci, monkeypatch, "send", "--to", "nowhere") == ["file,nowhere"]


def test_bash_completes_with_the_script(tmp_path: Path, nixoci: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script itself, in a real bash, with a command of this environment."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    install_program(monkeypatch, tmp_path, "nixoci", f'#!/bin/sh\nexec {sys.executable} -m nixoci "$@"\n')
    write_layout(tmp_path / "web", [])
    nixoci("add", "oci:web", "--platform", "linux/amd64")
    script = nixoci("completion", "bash").out
    for line, wanted in (
        ("upd", ["update"]),
        ("show w", ["web"]),
        ("show ", ["web"]),
        ("prefetch --platform linux/", ["linux/amd64"]),
        ("doctor --js", ["--json"]),
        ("prefetch --platform=linux/", ["linux/amd64"]),
        ("prefetch --platform=", ["linux/amd64"]),
        ("add oci:w", ["web"]),
        ("add 'oci:w", ["oci:web"]),
        ("add oci-a", ["oci-archive:"]),
        ("generate --lock=x", []),
    ):
        # bash makes words of these characters, unless they are quoted
        words = line.split() if "'" in line else re.sub("[:=]", r" \g<0> ", line).split()
        last = len(words) + line.endswith((" ", "="))
        text = BASH.format(
            script=script, line=shlex.quote(f"nixoci {line}"), words=" ".join(map(shlex.quote, words)), last=last
        )
        done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True)
        assert done.stdout.split() == wanted


@pytest.mark.parametrize(("shell", "form"), [("zsh", "plain\n{}\n_"), ("fish", "plain,{}")])
def test_the_value_of_an_option_comes_with_the_option(
    tmp_path: Path, nixoci: Run, monkeypatch: pytest.MonkeyPatch, shell: str, form: str
) -> None:
    """zsh puts a completion in the place of the whole word, and fish drops one that does not start like it."""
    write_layout(tmp_path / "web", [])
    nixoci("add", "oci:web", "--platform", "linux/amd64")
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks/a b.json").touch()
    for verb, word, wanted in (
        ("prefetch", "--platform=linux/", ["--platform=linux/amd64"]),
        ("generate", "--lock=nix", ["--lock=nixoci.lock.json"]),
        ("generate", "--lock=lo", ["--lock=locks/"]),
        ("generate", "--lock=locks/", ["--lock=locks/a b.json"]),
        ("generate", f"--lock={tmp_path}/nix", [f"--lock={tmp_path}/nixoci.lock.json"]),
        ("generate", "--lock=nowhere/x", []),
        ("add", "oci:w", ["oci:web"]),
    ):
        with monkeypatch.context() as patched:
            patched.setenv("_NIXOCI_COMPLETE", f"{shell}_complete")
            patched.setenv("COMP_WORDS", f"nixoci {verb} {word}")
            patched.setenv("COMP_CWORD", word if shell == "fish" else "2")
            assert nixoci().out == "\n".join(form.format(each) for each in wanted) + "\n"
