"""One mistake has one exit code in every verb: 2 for the command line itself, 1 for the things that it names."""

from __future__ import annotations

import contextlib
import resource
from typing import TYPE_CHECKING

import click
import pytest

from nixoci.cli import VERBS, cli
from nixoci.errors import NixociError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Result

    Run = Callable[..., Result]

LOCKS = ("list", "show x", "remove x", "update", "outdated", "verify --offline", "prefetch", "generate")
FILES = (
    *(f"{verb} --lock {{}}" for verb in LOCKS),
    "module {}",
    "generate --containers {}",
    "units {} out",
    "units {} out --attribute document",
    "bundle {} out --seccomp=unconfined",
    "bundle . out --container={}",
    "image-store out {} --no-erofs",
    "extract oci-archive:{} out",
    "extract docker-archive:{} out",
    "add oci-archive:{}",
    "receive {}",
    "receive {} --format=reupnix-v1 --store=/nowhere",
    "send --graphs={} --output=delta",
    "send --to={} --output=delta",
    "copy --to=ssh://host {}",
    "gc-roots --podman={}",
)
"""Commands that read the file or program `{}`."""


def failure(result: Result, code: int) -> str:
    """Return the one line of a failure with this exit code."""
    assert (result.code, result.out) == (code, ""), result.err
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    return result.err


@pytest.mark.parametrize("command", [*FILES, "extract oci:{} out", "add oci:{}", "add nginx --authfile={}"])
def test_a_missing_file_is_a_failure_of_the_work(tmp_path: Path, nixoci: Run, command: str) -> None:
    assert "missing" in failure(nixoci(*command.format("./missing").split()), 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["add oci:web", "add nginx", "man pages"])
def test_a_working_directory_that_is_gone(tmp_path: Path, nixoci: Run, command: str) -> None:
    (tmp_path / "gone").mkdir()
    with contextlib.chdir(tmp_path / "gone"):
        (tmp_path / "gone").rmdir()
        says = failure(nixoci(*command.split()), 1)
    gone = "error: working directory: it is gone; change to another one\n"
    assert says == ("error: pages: No such file or directory; check the path\n" if command == "man pages" else gone)


@pytest.mark.parametrize("command", FILES)
def test_a_directory_in_place_of_a_file_is_a_failure_of_the_work(tmp_path: Path, nixoci: Run, command: str) -> None:
    (tmp_path / "folder").mkdir()
    assert "folder" in failure(nixoci(*command.format("./folder").split()), 1)
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


@pytest.mark.parametrize(
    "command",
    [
        "add oci:{}",
        "extract oci:{} out",
        "generate --nixoci {} --lock lock.json",
        "image-store {}/out",
        "man {}",
    ],
)
def test_a_file_in_place_of_a_directory_is_a_failure_of_the_work(tmp_path: Path, nixoci: Run, command: str) -> None:
    (tmp_path / "lock.json").write_text('{"version": 1}', encoding="utf-8")
    before = list(tmp_path.iterdir())
    assert "lock.json" in failure(nixoci(*command.format("./lock.json").split()), 1)
    assert list(tmp_path.iterdir()) == before


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_looks_at_files_while_it_reads_the_command_line(verb: str) -> None:
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    for kind in (parameter.type for parameter in command.params):
        for part in kind.types if isinstance(kind, click.Tuple) else [kind]:
            if isinstance(part, click.Path):
                checks = (part.exists, part.readable, part.writable, not part.file_okay, not part.dir_okay)
                assert not any(checks), kind


@pytest.mark.parametrize("verb", VERBS)
def test_an_empty_path_is_wrong_usage_and_not_the_working_directory(verb: str) -> None:
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    for parameter in command.params:
        kind = parameter.type
        for part in kind.types if isinstance(kind, click.Tuple) else [kind]:
            if isinstance(part, click.Path):
                with pytest.raises(click.BadParameter, match="the path is empty"):
                    part.convert("", parameter, None)


@pytest.mark.parametrize("verb", VERBS)
def test_a_url_is_no_path(verb: str) -> None:
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    for parameter in command.params:
        kind = parameter.type
        for part in kind.types if isinstance(kind, click.Tuple) else [kind]:
            if isinstance(part, click.Path):
                with pytest.raises(NixociError, match=r"^https://cache\.example/x is a URL; give a path on this"):
                    part.convert("https://cache.example/x", parameter, None)


def test_a_url_is_echoed_as_it_was_given(tmp_path: Path, nixoci: Run) -> None:
    ends = ["--from=/nix/store/a", "--to=/nix/store/b"]
    said = failure(nixoci("publish", "--cache=https://me:secret@cache.example/", *ends), 1)
    assert "https://...@cache.example/ is a URL; give a path on this machine" in said
    said = failure(nixoci("publish", "--cache", f"file://{tmp_path}", *ends), 1)
    assert f"file://{tmp_path} is a URL; give its path, {tmp_path}" in said


def test_an_empty_source_is_not_the_working_directory(tmp_path: Path, nixoci: Run) -> None:
    assert "'' is not a repository name" in failure(nixoci("layer-cache", "out", ""), 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", VERBS)
def test_an_option_without_its_value_names_the_verb(nixoci: Run, verb: str) -> None:
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.is_flag and parameter.nargs == 1:
            says = failure(nixoci(verb, parameter.opts[-1]), 2)
            assert "requires an argument" in says
            assert says.endswith(f"; see `nixoci {verb} --help`\n")


@pytest.mark.parametrize("verb", VERBS)
def test_an_option_that_no_verb_has_is_wrong_usage(nixoci: Run, verb: str) -> None:
    says = failure(nixoci(verb, "--xyz"), 2)
    assert says == f"error: No such option '--xyz'; see `nixoci {verb} --help`\n"


@pytest.mark.parametrize(
    "verb",
    [
        "add",
        "bundle",
        "completion",
        "copy",
        "extract",
        "fetch-blob",
        "fetch-image",
        "image-store",
        "man",
        "module",
        "mstack",
        "remove",
        "show",
        "send",
    ],
)
def test_a_missing_argument_is_wrong_usage(nixoci: Run, verb: str) -> None:
    failure(nixoci(verb), 2)


@pytest.mark.parametrize(
    "command",
    [
        "add nginx --platform=linux",
        "extract oci:x out --platform=linux",
        "extract oci:x out --digest=sha256:1",
        "extract oci:x out --blob=x",
        "fetch-blob sha256:1 out --image=web",
        "fetch-image sha256:1 out --image=web",
        "send --to=x --effort=much",
        "send --to=x --graphs=y",
        "send --to=x --json",
        "receive x --format=tar",
        "update --tag=1",
        "generate --check",
        "generate --flake=. --nixoci=.",
        "module x --check",
        "image-store out --rootless --no-erofs",
        "units x",
    ],
)
def test_a_command_line_that_contradicts_itself_is_wrong_usage(tmp_path: Path, nixoci: Run, command: str) -> None:
    failure(nixoci(*command.split()), 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--max-size", "--max-entries", "--max-depth", "--max-header-size"])
@pytest.mark.parametrize("value", ["0", "-1", "1e9", "", str(1 << 64)])
def test_a_limit_that_nothing_meets_is_wrong_usage(nixoci: Run, option: str, value: str) -> None:
    assert option in failure(nixoci("extract", "oci:x", "out", option, value), 2)


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "1e400", "86401", "", "x"])
def test_a_pause_that_no_clock_can_wait_is_wrong_usage(nixoci: Run, value: str) -> None:
    said = failure(nixoci("substituter", "--upstream=https://cache.example", "--keep-alive", value), 2)
    assert "--keep-alive" in said


def test_no_verb_shows_the_help(nixoci: Run) -> None:
    result = nixoci()
    assert result.code == 2
    assert "Usage: nixoci" in result.out + result.err


@pytest.mark.parametrize(
    ("store", "directory"),
    [("{}/none", "{}/none/nix/store"), ("local?root={}/none", "{}/none/nix/store"), ("local?real={}/file", "{}/file")],
)
def test_a_substituter_without_a_store_does_not_start(
    tmp_path: Path, nixoci: Run, monkeypatch: pytest.MonkeyPatch, store: str, directory: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("nixoci.substituter.server.listen", pytest.fail)
    named = store.format(tmp_path)
    said = failure(nixoci("substituter", "--upstream=https://cache.example", f"--store={named}"), 1)
    where = directory.format(tmp_path)
    assert said == f"error: {named}: there is no Nix store, which would be {where}; name one with --store\n"


@pytest.mark.parametrize("options", [["--upstream=ftp://cache.example"], ["--upstream=https://cache.example"]])
def test_a_substituter_that_does_not_start_limits_no_memory(tmp_path: Path, nixoci: Run, options: list[str]) -> None:
    """The limit is that of the process, which is a caller's here; other tests in it ran out of memory."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    failure(nixoci("substituter", *options, f"--store={tmp_path}/none"), 1)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
