"""Groups of test images: the classes, and what was kept from the map on Explore."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64

from dashboard.resources import LoadedRun
from dashboard.state import Visit

HOW_TO_KEEP = "On Explore, draw a lasso around images on the map and keep it as a group; do that once more for the other group."


def groups_of(loaded: LoadedRun, visit: Visit) -> dict[str, Int64[np.ndarray, " rows"]]:
    """The rows of each group, by name; a class without an image is left out."""
    found: dict[str, np.ndarray] = {}
    labels = loaded.data.labels
    if labels is not None:
        for label, name in enumerate(loaded.data.class_names):
            rows = np.flatnonzero(labels == label)
            if len(rows):
                found[name] = rows
    for name, chosen in visit.groups.items():
        rows = np.array(sorted({row for row in chosen if 0 <= row < len(loaded.data)}), dtype=np.int64)
        if len(rows):
            found[f"kept: {name}"] = rows
    return found
