"""The documents of the repository, read: links, anchors, code blocks, commands."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "config").rglob("*.md"))
)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced or indented code block."""

    page: Path
    language: str
    text: str


@lru_cache(maxsize=64)
def tokens(page: Path) -> tuple[Token, ...]:
    """All tokens of a page, inline ones after the block that they are in."""
    found = list[Token]()
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8")):
        found += [token, *(token.children or ())]
    return tuple(found)


def blocks(page: Path) -> Iterator[Block]:
    for t in tokens(page):
        if t.type in ("fence", "code_block"):
            yield Block(page, t.info.split()[0] if t.info else "", t.content)


def links(page: Path) -> list[str]:
    """Where links and pictures of a page point to, in their order."""
    found = [t.attrGet("href") if t.type == "link_open" else t.attrGet("src") for t in tokens(page)]
    return [str(f) for f in found if f is not None]


def codes(page: Path) -> list[str]:
    """Inline code."""
    return [t.content for t in tokens(page) if t.type == "code_inline"]


@lru_cache(maxsize=64)
def anchors(page: Path) -> frozenset[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    every = tokens(page)
    titles = [
        "".join(c.content for c in every[i + 1].children or () if c.type in ("text", "code_inline"))
        for i, t in enumerate(every)
        if t.type == "heading_open"
    ]
    seen: Counter[str] = Counter()
    found = set[str]()
    for title in titles:
        slug = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return frozenset(found)


def commands(block: Block, tool: str) -> Iterator[list[str]]:
    """The words of every call of a tool in a shell block, without comments and what is piped on.

    A line that is continued (``\\``) is one; output, lines that do not begin with the tool, is
    left out, whatever stands before the tool (``$``, variables, ``.venv/bin/``) is as well.
    """
    if block.language not in ("", "sh", "bash", "console", "shell"):
        return
    start = re.compile(rf"^\s*(?:\$ )?(?:\w+=\S* )*(?:\S*/)?{tool}(?= |$)")
    for line in block.text.replace("\\\n", " ").splitlines():
        if (found := start.match(line)) is None:
            continue
        words = shlex.split(line[found.end() :], comments=True)
        ends = [i for i, w in enumerate(words) if w in ("|", ">", "&&", ";", "2>", ">>", "&")]
        yield words[: ends[0]] if ends else words
