"""Blocks of code in Markdown, with the comment before a block that says how tests run it."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
_BLOCK = re.compile(r"(?:<!-- test: (?P<how>[^>]*?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text, and how it is to be tested ('' where nothing is said)."""

    page: str
    number: int
    language: str
    how: str
    text: str

    def __str__(self) -> str:
        """Name of the block in reports."""
        return f"{self.page}-{self.number}"


def blocks(page: str) -> list[Block]:
    """Return the blocks of a page, in order."""
    found = _BLOCK.finditer((ROOT / page).read_text())
    return [Block(page, n, each["language"], each["how"] or "", each["text"]) for n, each in enumerate(found, 1)]
