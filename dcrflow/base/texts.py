"""Texts that came from outside, fit to be shown: one line, and nothing that a terminal would obey."""

from __future__ import annotations


def one_line(text: object) -> str:
    """A text with single blanks for all white space, and escapes (``\\x1b``) for what cannot be printed."""
    line = " ".join(str(text).split())
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line)
