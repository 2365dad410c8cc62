"""The shells' completion: click's, for words with `=` or `:` too.

bash takes `--lock=x` and `oci:x` for three words each. zsh would put a value in the place of the option that it belongs
to, and fish drops values that do not start like the word.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

_LINE, _BREAKS = "_NIXOCI_LINE", "_NIXOCI_BREAKS"
_QUOTES = "\"'\\"


class Bash(BashComplete):
    """bash, which replaces the end of a word, from the last of the characters in COMP_WORDBREAKS."""

    def source(self) -> str:
        """Return the script, which also passes the line and these characters on."""
        passed = f"local -x {_LINE}=${{COMP_LINE:0:COMP_POINT}} {_BREAKS}=$COMP_WORDBREAKS"
        head = f"{self.func_name}() {{\n"
        return super().source().replace(head, f"{head}    {passed}\n", 1)

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the last one of the line, and that one."""
        if _LINE not in os.environ:  # a script of an older version
            return super().get_completion_args()
        line = os.environ[_LINE]
        words: list[str] = split_arg_string(line)[1:]
        last = "" if not words or line[-1:].isspace() else words.pop()
        return words, last

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        """Return the completions, each as the end of a word that bash replaces."""
        found = super().get_completions(args, incomplete)
        typed = os.environ.get(_LINE, "").rpartition(" ")[2]
        if any(quote in typed for quote in _QUOTES):  # one word to bash, whatever is in it
            return found
        replaced = max((incomplete.rfind(char) + 1 for char in os.environ.get(_BREAKS, "")), default=0)
        for item in found:
            if item.type == "plain":
                item.value = f"{_option(incomplete)}{item.value}"[replaced:]
        return found


class Zsh(ZshComplete):
    """zsh, whose completions take the place of the whole word."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        """Return the completions, as whole words."""
        return _whole(super().get_completions(args, incomplete), incomplete)


class Fish(FishComplete):
    """fish, whose completions start like the whole word."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        """Return the completions, as whole words."""
        return _whole(super().get_completions(args, incomplete), incomplete)


def add_shells() -> None:
    """Let click complete for these shells so."""
    for shell in (Bash, Zsh, Fish):
        add_completion_class(shell)


def _whole(found: list[CompletionItem[str]], word: str) -> list[CompletionItem[str]]:
    """Return completions of a value with the option before it; the shell itself finds files for a whole word only."""
    option = _option(word)
    if not option:
        return found
    plain = [each for item in found for each in (_files(item.value) if item.type in {"file", "dir"} else [item])]
    return [CompletionItem(f"{option}{item.value}", help=item.help) for item in plain]


def _option(word: str) -> str:
    """Return the option at the start of a word, with its equals sign; an empty text without one."""
    name, equals, _ = word.partition("=")
    return name + equals if equals and name.startswith("--") else ""


def _files(start: str) -> Iterator[CompletionItem[str]]:
    """Yield the files whose paths start so."""
    folder, slash, name = start.rpartition("/")
    try:
        entries = sorted(os.scandir(Path(folder + slash or ".").expanduser()), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(name) and (name or not entry.name.startswith(".")):
            yield CompletionItem(f"{folder}{slash}{entry.name}{'/' if entry.is_dir() else ''}")
