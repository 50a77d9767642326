"""Images such as somebody might bring: scikit-learn's digits, and pictures of discs in five colours."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

TREES = ("ash", "birch", "cedar", "date", "elm")


def digits(folder: Path) -> Path:
    """scikit-learn's digits, 1,797 of 8 x 8, as an ``.npz`` file of bytes."""
    from sklearn.datasets import load_digits

    found = load_digits()
    np.savez(folder / "digits.npz", images=np.rint(found.images * (255 / 16)).astype(np.uint8), labels=found.target)
    return folder / "digits.npz"


def trees(folder: Path, labelled: bool) -> Path:
    """500 RGB pictures of 64 x 64: discs of five colours on a ground, in five folders or in one."""
    random = np.random.default_rng(1)
    rows, columns = np.mgrid[:64, :64]
    for number in range(500):
        kind = number % 5
        image = random.integers(0, 40, (64, 64, 3))
        radius, (top, left) = random.integers(8, 24), random.integers(20, 44, 2)
        image[(rows - top) ** 2 + (columns - left) ** 2 < radius**2] += np.array([45 * kind, 200 - 45 * kind, 60 * (kind % 3)])
        path = folder / "pictures" / (TREES[kind] if labelled else "") / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(path)
    return folder / "pictures"


def zipped(folder: Path) -> bytes:
    """A folder as a zip file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, path.relative_to(folder.parent))
    return buffer.getvalue()
