"""The pages of the documentation and the fenced blocks of code in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block: its page, as `docs/x.md`, its language and its text."""

    page: str
    language: str
    text: str

    @property
    def start(self) -> str:
        """The first two lines as one, which name a block within its page."""
        return " ".join(" ".join(self.text.splitlines()[:2]).split())

    @property
    def commands(self) -> list[str]:
        """The commands that are typed in it."""
        return [line.removeprefix("$ ") for line in self.text.splitlines() if line.startswith("$ ")]


def blocks() -> list[Block]:
    """Return the blocks of all pages, in the order in which they are read."""
    return [
        Block(page=str(page.relative_to(ROOT)), language=language, text=text)
        for page in PAGES
        for language, text in _BLOCK.findall(page.read_text(encoding="utf-8"))
    ]


def block(page: str, start: str) -> Block:
    """Return the block of a page that starts with a text."""
    return next(each for each in blocks() if each.page == page and each.start.startswith(start))
