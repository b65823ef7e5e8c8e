"""Text as Markdown, whatever it contains."""

import re


def code(text: object) -> str:
    """Text as inline code, whatever it contains."""
    flat = " ".join(str(text).split())
    ticks = "`" * (_longest_run(flat) + 1)
    space = " " if flat.startswith("`") or flat.endswith("`") else ""
    return f"{ticks}{space}{flat}{space}{ticks}"


def fenced(text: str, language: str) -> str:
    """Text as a block of code, whatever it contains."""
    ticks = "`" * max(3, _longest_run(text) + 1)
    return f"{ticks}{language}\n{text}\n{ticks}"


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


def escaped(text: object) -> str:
    """Text on one line with Markdown's and HTML's special characters escaped."""
    return re.sub(r"([\\`*\[\]<>#])", r"\\\1", " ".join(str(text).split()))


def cell(text: str) -> str:
    """Text for a table cell. A bar would end the cell, even inside code, so it is escaped."""
    return text.replace("|", "\\|")
