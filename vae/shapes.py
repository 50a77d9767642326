"""Which shape the images of a source are brought to, and how one image gets there."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image as Pillow

from vae.data import DataError
from vae.images import ImageError
from vae.sources import Image, Source

Shape = tuple[int, int, int]
SIDES = (16, 128)
STEP = 4
ONE_SIZE = 0.9
"""Images have one size if this share of those looked at has; the others are left out."""
LOOKED_AT = 200
"""How many images, spread evenly, are read to see whether they have one size and any colour: before an import, and in it."""


@dataclass(frozen=True)
class Target:
    """The shape that every image of a source is brought to, ``(channels, height, width)``."""

    shape: Shape
    own: tuple[int, int] | None
    """The height and width that each image must have already, to be padded only; None where images are resized."""


def check_size(size: int) -> int:
    """A side that images can be brought to: 16 to 128, divisible by 4.

    Raises:
        DataError: another.
    """
    low, high = SIDES
    if not low <= size <= high or size % STEP:
        raise DataError(f"size must be from {low} to {high} and divisible by {STEP}, got {size}")
    return size


def spread(count: int, most: int) -> list[int]:
    """At most ``most`` rows of ``count``, evenly spread, from the first to the last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int)).tolist() if count else []


Looked = list[tuple[int, tuple[int, ...]]]
"""Rows of a source, with the shapes of their images: ``(height, width)`` or ``(height, width, 3)``."""


def look(source: Source) -> tuple[Looked, list[str]]:
    """`LOOKED_AT` of a source's images, and a sentence on each of those that can't be used. One at a time is in memory."""
    found: Looked = []
    bad: list[str] = []
    for row in spread(source.count, LOOKED_AT):
        try:
            found.append((row, source.read(row).shape))
        except (ImageError, DataError) as error:
            bad.append(f"{source.name(row)}: {error}")
    return found, bad


def choose_target(source: Source, size: int | None, grey: bool) -> Target:
    """What to bring a source's images to: a square of ``size``, or their own size with the sides padded.

    Raises:
        DataError: a size that isn't one, images of several sizes or too large ones without a size, or no usable image.
    """
    if size is not None:
        check_size(size)
    found, bad = look(source)
    if not found:
        raise DataError(f"{source.kind}: none of the {len(bad):,} images looked at can be used; the first: {bad[0]}")
    return target_of(source.kind, found, size, grey)


def target_of(kind: str, found: Looked, size: int | None, grey: bool) -> Target:
    """As `choose_target`, from a look at a source of that ``kind``.

    Raises:
        DataError: images of several sizes, or too large ones, without a size.
    """
    channels = 1 if grey or all(len(shape) == 2 for _, shape in found) else 3
    if size is not None:
        return Target((channels, size, size), None)
    sizes = Counter((shape[0], shape[1]) for _, shape in found)
    own, times = sizes.most_common(1)[0]
    if times < ONE_SIZE * len(found) or max(own) > SIDES[1]:
        shown = " and ".join(f"{width:,} x {height:,}" for height, width in sorted({min(sizes), max(sizes)}))
        raise DataError(
            f"{kind}: expected images of one size, at most {SIDES[1]} pixels a side, found {shown}: "
            "say which size to bring them to, for example --size 64"
        )
    height, width = (max(SIDES[0], -(-side // STEP) * STEP) for side in own)
    return Target((channels, height, width), own)


def fit_image(image: Image, target: Target) -> UInt8[np.ndarray, "channels tall wide"]:
    """An image in the target's shape. Where images are resized, a larger one is reduced, with antialiasing, and a smaller
    one enlarged, in its proportions. What is missing at the sides is filled with the level of the image's border.

    Raises:
        DataError: it should keep its size, and has another than the rest.
    """
    channels, height, width = target.shape
    if target.own and image.shape[:2] != target.own:
        found = f"{image.shape[1]:,} x {image.shape[0]:,} pixels"
        expected = f"{target.own[1]} x {target.own[0]}"
        raise DataError(f"expected {expected} pixels like the others, found {found}: import with --size to fit it")
    if channels == 1 and image.ndim == 3:
        image = np.asarray(Pillow.fromarray(image).convert("L"))
    if channels == 3 and image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    if not target.own and image.shape[:2] != (height, width):
        scale = min(height / image.shape[0], width / image.shape[1])
        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        image = np.asarray(Pillow.fromarray(image).resize(size, Pillow.Resampling.HAMMING))
    if image.shape[:2] != (height, width):
        image = _padded(image, height, width)
    return image[None] if channels == 1 else image.transpose(2, 0, 1)


def _padded(image: Image, height: int, width: int) -> UInt8[np.ndarray, "..."]:
    """The image in the middle of a larger one, filled with the median of its border."""
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    canvas = np.empty((height, width, *image.shape[2:]), dtype=np.uint8)
    canvas[:] = np.median(border, axis=0).astype(np.uint8)
    top, left = (height - image.shape[0]) // 2, (width - image.shape[1]) // 2
    canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
    return canvas
