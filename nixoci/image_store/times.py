"""Times in configs, as Go reads them: RFC 3339 and nothing else (Go, time/format_rfc3339.go)."""

import re
from calendar import monthrange
from datetime import UTC, datetime

_RFC3339 = re.compile(
    r"(\d{4})-(0[1-9]|1[0-2])-(\d\d)T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)
_NUMBER = re.compile(r"-?\d{1,11}", re.ASCII)


def go_time(text: str) -> str | None:
    """Return a time as Go reads it: the text itself if Go does, else the same time in UTC; None if it is no time.

    A time without a zone is in UTC.

    >>> go_time("2024-01-02T03:04:05+01:00"), go_time("2024-01-02 03:04:05"), go_time("yesterday")
    ('2024-01-02T03:04:05+01:00', '2024-01-02T03:04:05Z', None)
    """
    match = _RFC3339.fullmatch(text)
    if match is not None and 1 <= int(match[3]) <= _days(int(match[1]), int(match[2])):
        return text
    try:
        if _NUMBER.fullmatch(text):
            time = datetime.fromtimestamp(int(text), UTC)
        else:
            time = datetime.fromisoformat(text.strip())
            time = time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return time.isoformat().replace("+00:00", "Z")


def _days(year: int, month: int) -> int:
    return monthrange(year or 4, month)[1]  # year 0 is a leap year, and not one of Python's
