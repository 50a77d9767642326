"""Small pictures of all images, as the browser holds them: packed once, sent once, unpacked tile by tile.

Pixels are compressed as they are, not as JPEG or WebP, so that a small image loses nothing and no neighbour shines through.
Where that is more than the budget, pixels get fewer levels first, then fewer pixels. Images that would have to become so small
that one can't tell what they show are left out altogether.
"""

from __future__ import annotations

import hashlib
import zlib

import numpy as np
from jaxtyping import UInt8

from dashboard.components.frames import ALIGNMENT, sealed_frame

BYTE_BUDGET = 16_000_000
"""What may travel: 10,000 grey images of 28 x 28 take 4.6 MB."""
MEMORY_BUDGET = 64_000_000
"""What the browser may hold, a byte a value."""
LEAST_SIDE = 10
"""The longer side, in pixels, that an image may be shrunk to: of 28 x 28, garments are told apart at 10, hardly at 7. About
400,000 of Fashion-MNIST's kind fit in the budget like that."""
LEVEL_BITS = (8, 6, 4)
TILE_BYTES = 1_000_000
_SAMPLE = 512

Images = UInt8[np.ndarray, "n channels height width"]


def make_sprites(
    images: Images, byte_budget: int = BYTE_BUDGET, memory_budget: int = MEMORY_BUDGET, digest: str | None = None
) -> bytes:
    """All images as one frame of compressed tiles, within the budget as far as a sample of the images tells. There is no tile
    where they would have to be shrunk below `LEAST_SIDE`.

    Grey images have one channel; of more, the first three are red, green and blue (two: the first is grey). The head says
    how much was given up: ``bits`` of each value, and ``height`` and ``width`` of the small pictures. ``digest`` is that of the
    images, where it is known already.
    """
    digest = digest or images_digest(images)
    images = images[:, : 3 if images.shape[1] >= 3 else 1]
    factor, bits = _choose(images, byte_budget, memory_budget)
    shape = shrink(images[:1], factor).shape[1:]
    per_tile = max(1, TILE_BYTES // int(np.prod(shape)))
    tiles: list[bytes] = []
    is_told_apart = factor == 1 or max(shape[1:]) >= LEAST_SIDE
    for start in range(0, len(images) if is_told_apart else 0, per_tile):
        tile = quantise(shrink(images[start : start + per_tile], factor), bits)
        tiles.append(zlib.compress(tile.tobytes(), 1))
    head = {
        "images": digest,
        "channels": shape[0],
        "height": shape[1],
        "width": shape[2],
        "bits": bits,
        "exact": factor == 1 and bits == 8,
        "perTile": per_tile,
        "sizes": [len(tile) for tile in tiles],
    }
    return sealed_frame(head, b"".join(tiles))


def images_digest(images: Images) -> str:
    """What tells these images from others: a map and its pictures arrive one after the other."""
    return hashlib.blake2b(np.ascontiguousarray(images).data, digest_size=8).hexdigest()


def shrink(images: Images, factor: int) -> Images:
    """Images smaller by a whole factor: each pixel the mean of a square (smaller squares at the right and lower edge)."""
    if factor == 1:
        return images
    rows, columns = (np.arange(0, size, factor) for size in images.shape[2:])
    sums = np.add.reduceat(np.add.reduceat(images, rows, axis=2, dtype=np.uint32), columns, axis=3)
    heights = np.diff(rows, append=images.shape[2])[:, None]
    widths = np.diff(columns, append=images.shape[3])[None, :]
    return np.asarray(np.rint(sums / (heights * widths)), dtype=np.uint8)


def quantise(images: Images, bits: int) -> Images:
    """Each value as the nearest of ``2**bits`` equal levels, counted from 0."""
    if bits == 8:
        return images
    levels = np.rint(np.arange(256) * ((2**bits - 1) / 255)).astype(np.uint8)
    return np.asarray(levels[images])


def _choose(images: Images, byte_budget: int, memory_budget: int) -> tuple[int, int]:
    """The smallest loss (factor, bits) that the budgets allow."""
    sample = images[np.linspace(0, len(images) - 1, min(len(images), _SAMPLE)).astype(int)]
    largest = max(images.shape[2:])
    for factor in range(1, largest + 1):
        small = shrink(sample, factor)
        if small[0].size * len(images) > memory_budget:
            continue
        for bits in LEVEL_BITS:
            packed = len(zlib.compress(quantise(small, bits).tobytes(), 1))
            if packed / len(sample) * len(images) + ALIGNMENT <= byte_budget:
                return factor, bits
    return largest, LEVEL_BITS[-1]
