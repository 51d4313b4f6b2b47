"""The page of the documentation for Rubin, taken apart."""

from __future__ import annotations

import re
from pathlib import Path

RUBIN = Path(__file__).parents[2] / "dcrflow" / "docs" / "rubin.md"


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.M | re.S)


def files(page: Path) -> dict[str, str]:
    """Files that the page shows, by name: YAML blocks that begin with a comment of it."""
    return {text.split("\n")[0].removeprefix("# "): text for text in blocks(page, "yaml")}


def commands(page: Path) -> list[str]:
    """Commands after a prompt."""
    text = "".join(blocks(page, "console"))
    return [line[2:] for line in text.splitlines() if line.startswith("$ ")]


def rows(heading: str) -> list[list[str]]:
    """The cells of a table of the page, by the first cell of its head."""
    table = RUBIN.read_text().split(f"| {heading} |")[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in table.splitlines()[2:]]
