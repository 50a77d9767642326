"""Text from outside on a page that reads Markdown. No Streamlit."""

from __future__ import annotations

SPECIAL = frozenset("\\`*_{}[]()#+!|<>~$:&-")


def plain(text: str) -> str:
    """Text that Markdown shows as it is: names of files and classes come from outside."""
    return "".join(f"\\{letter}" if letter in SPECIAL else letter for letter in text)
