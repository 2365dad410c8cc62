"""The header `WWW-Authenticate` (RFC 9110, 11.6.1; RFC 6750, 3), in which a registry says where it gives tokens."""

import re
from collections.abc import Mapping

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_BETWEEN = re.compile(r"[\s,]*+")
_SCHEME = re.compile(rf"({_WORD})(?=[\s,]|$)")
# some servers leave out the quotation marks around an address
_PARAMETER = re.compile(rf'({_WORD})\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"|([^\s",]*+))', re.DOTALL)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)


def parse_challenges(header: str) -> list[tuple[str, Mapping[str, str]]]:
    """Return the schemes of a header, or of several joined by commas, each with its parameters.

    Schemes and the names of parameters are in lower case; the first of equal names counts. What is no challenge is
    skipped.

    >>> parse_challenges('Basic realm="a, b", Bearer realm="https://example.org/token",service=hub')
    [('basic', {'realm': 'a, b'}), ('bearer', {'realm': 'https://example.org/token', 'service': 'hub'})]
    """
    challenges: list[tuple[str, dict[str, str]]] = []
    at = 0
    while (at := _end(_BETWEEN, header, at)) < len(header):
        if parameter := _PARAMETER.match(header, at):
            name, quoted, plain = parameter.groups()
            if challenges:
                challenges[-1][1].setdefault(name.lower(), plain if quoted is None else _QUOTED_PAIR.sub(r"\1", quoted))
            at = parameter.end()
        elif scheme := _SCHEME.match(header, at):
            challenges.append((scheme[1].lower(), {}))
            at = scheme.end()
        else:
            comma = header.find(",", at)
            at = len(header) if comma < 0 else comma
    return list(challenges)


def bearer_challenge(header: str) -> Mapping[str, str] | None:
    """Return the parameters of the first challenge that names a server of tokens as its `realm`; None without one."""
    return next(
        (said for scheme, said in parse_challenges(header) if scheme == "bearer" and said.get("realm")),
        None,
    )


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return at if match is None else match.end()
