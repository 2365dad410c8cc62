"""Manual pages of the command and its verbs, in roff for man(7), made from what the parser knows."""

import re
from collections.abc import Iterator, Mapping

import click

from nixoci.cli.verb import Verb

PROGRAM = "nixoci"

EXIT_STATUS = {
    "0": "Done.",
    "1": "The work failed; one line on standard error, `error: ...`, names the thing and what to do.",
    "2": "Wrong usage.",
    "129": "Ended by SIGHUP, as when the terminal closes.",
    "130": "Ended by Ctrl-C.",
    "143": "Ended by SIGTERM.",
}

_CODE = re.compile(r"`([^`]*)`")
_FLAG = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")
_SPECIAL = {"\\": r"\(rs", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}
"""Characters that roff or a typesetter would change, and their escapes."""


def render_program_page(program: click.Context, groups: Mapping[str, list[Verb]], version: str) -> str:
    """Return the page of the program itself, which names the verbs.

    Args:
        program: The context of the program.
        groups: The verbs by the titles of their groups.
        version: The version of nixoci.
    """
    command = program.command
    lines = [*_head(PROGRAM, _summary(command), version)]
    lines += _synopsis(PROGRAM, " ".join(command.collect_usage_pieces(program)))
    lines += [".SH DESCRIPTION", *_paragraphs(command.help or ""), *_options(command, program)]
    for title, verbs in groups.items():
        lines.append(f".SH {_text(title.upper())}")
        for verb in verbs:
            lines += [".TP", rf"\fB{_text(f'{PROGRAM}-{verb.name}')}\fR(1)", _prose(_summary(verb))]
    lines.append(".SH EXIT STATUS")
    for code, meaning in EXIT_STATUS.items():
        lines += [".TP", rf"\fB{code}\fR", _prose(meaning)]
    return _page(lines)


def render_verb_page(verb: Verb, program: click.Context, version: str) -> str:
    """Return the page of a verb of a program."""
    name = f"{PROGRAM} {verb.name}"
    context = click.Context(verb, info_name=verb.name, parent=program)
    lines = [*_head(name.replace(" ", "-"), _summary(verb), version)]
    lines += _synopsis(name, " ".join(verb.collect_usage_pieces(context)))
    lines += [".SH DESCRIPTION", *_paragraphs(verb.help or ""), *_options(verb, context)]
    if verb.examples:
        lines += [".SH EXAMPLES", ".nf", *map(_text, verb.examples), ".fi"]
    return _page([*lines, ".SH SEE ALSO", rf"\fB{PROGRAM}\fR(1)"])


def _page(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"


def _head(name: str, summary: str, version: str) -> Iterator[str]:
    yield f'.TH {_text(name.upper())} 1 "" "{PROGRAM} {_text(version)}" "{PROGRAM} manual"'
    yield from (".SH NAME", rf"{_text(name)} \- {_text(summary.rstrip('.').replace('`', ''))}")


def _synopsis(name: str, arguments: str) -> Iterator[str]:
    yield from (".SH SYNOPSIS", rf"\fB{_text(name)}\fR {_text(arguments)}")


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    yield ".SH OPTIONS"
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and record[1]:  # an argument is in the synopsis
            names, about = record
            yield from (".TP", _styled(_FLAG, names, "B"), _prose(about))


def _summary(command: click.Command) -> str:
    return command.get_short_help_str(limit=200)


def _paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(text.split("\n\n")):
        if number:
            yield ".PP"
        yield _prose(" ".join(paragraph.split()))


def _prose(text: str) -> str:
    """Return a line of text with its code in bold, without the backticks."""
    return _styled(_CODE, text, "B")


def _styled(pattern: re.Pattern[str], text: str, font: str) -> str:
    """Return text with what a pattern finds, or its first group, in a font."""
    parts, end = [], 0
    for found in pattern.finditer(text):
        parts += [_escaped(text[end : found.start()]), rf"\f{font}{_escaped(found[pattern.groups])}\fR"]
        end = found.end()
    return _line("".join([*parts, _escaped(text[end:])]))


def _text(text: str) -> str:
    """Return a line of text that roff prints as it is."""
    return _line(_escaped(text))


def _escaped(text: str) -> str:
    return "".join(_SPECIAL.get(char, char) for char in text)


def _line(escaped: str) -> str:
    """Keep roff from reading a line as a request."""
    return rf"\&{escaped}" if escaped.startswith(".") else escaped
