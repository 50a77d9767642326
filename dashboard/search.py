"""Find test images by a few words: a row, a class, or the hardest ones."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from vae import ImageDataset

MOST_WORDS = 20
FOUND = 16
"""How many images a search shows, at most."""
HARDEST, EASIEST = "hardest", "easiest"


def search_images(text: str, data: ImageDataset, elbo: Float32[np.ndarray, " n"], count: int = FOUND) -> tuple[list[int], str]:
    """The rows that ``text`` asks for, at most ``count``, and a sentence on what they are.

    A number is a row. ``hardest`` and ``easiest`` order by the ELBO, the worst (lowest) first or last. Other words name
    classes, by the beginning of their names: ``ankle``, ``hardest shirt``. A class without an order gives its first rows.
    """
    words = text.lower().split()[:MOST_WORDS]
    if len(words) == 1 and words[0].isascii() and words[0].isdigit():
        row = int(words[0][:12])
        if row < len(data):
            return [row], f"Row {row}."
        return [], f"No row {row}: rows go from 0 to {len(data) - 1:,}."
    order = next((word for word in words if word in (HARDEST, EASIEST)), None)
    wanted = " ".join(word for word in words if word not in (HARDEST, EASIEST))
    labels = _matching(wanted, data.class_names) if wanted else None
    if labels is not None and (not labels or data.labels is None):
        known = f"the classes are {', '.join(data.class_names)}" if data.class_names else "these images have no classes"
        return [], f"Nothing is called “{wanted}”: {known}. A row number, “hardest” and “easiest” work too."
    rows = np.arange(len(data)) if labels is None or data.labels is None else np.flatnonzero(np.isin(data.labels, labels))
    total = len(rows)
    if order is not None:
        ranked = np.argsort(elbo[rows], kind="stable")
        rows = rows[ranked if order == HARDEST else ranked[::-1]]
    names = "all classes" if labels is None else ", ".join(data.class_names[label] for label in labels)
    ways = {HARDEST: "by −ELBO, the highest first", EASIEST: "by −ELBO, the lowest first", None: "by row"}
    return rows[:count].tolist(), f"{min(count, total):,} of {total:,} of {names}, {ways[order]}."


def search_hint(data: ImageDataset) -> str:
    """What can be asked for, in an example of these images."""
    present = [] if data.labels is None else [data.class_names[label] for label in np.unique(data.labels)]
    return f"Find: a row, a class, “hardest {present[-1].lower()[:20]}”" if present else "Find: a row, “hardest”, “easiest”"


def _matching(wanted: str, class_names: tuple[str, ...]) -> list[int]:
    """The classes that are called so: exactly, else by a beginning of their name, else by a beginning of a word in it."""
    names = [name.lower() for name in class_names]
    for fits in (
        lambda name: name == wanted,
        lambda name: name.startswith(wanted),
        lambda name: any(word.startswith(wanted) for word in name.replace("/", " ").split()),
    ):
        found = [label for label, name in enumerate(names) if fits(name)]
        if found:
            return found
    return []
