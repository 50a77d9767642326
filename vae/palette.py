"""Colours and symbols that tell classes apart, the same in every figure."""

from __future__ import annotations

PETROFF = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
"""Ten colours that people with any colour vision tell apart (M. A. Petroff 2021, "Accessible color sequences")."""

SYMBOLS = ("circle", "diamond", "square", "cross", "triangle-up", "star")
"""Beyond ten classes the colours come again with the next symbol (plotly's names)."""
