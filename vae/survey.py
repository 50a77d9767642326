"""What a data set looks like, and what a run makes of it: class counts, pixel statistics, extremes by ELBO, close pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from vae.data import ImageDataset
from vae.projection import nearest
from vae.shapes import spread

MOST_VALUES = 2**27
"""Pixel statistics are of about this many values at most, of images evenly spread: of all images, in most data sets."""


@dataclass(frozen=True, eq=False)
class PixelStatistics:
    """Of the pixel values of ``images`` images, each from 0 to 255, by channel."""

    images: int
    mean: Float64[np.ndarray, " channels"]
    std: Float64[np.ndarray, " channels"]
    """The standard deviation over all pixels of all images."""
    black: Float64[np.ndarray, " channels"]
    """The share of values that are 0."""
    white: Float64[np.ndarray, " channels"]
    """The share of values that are 255."""
    mean_image: UInt8[np.ndarray, "channels height width"]
    """The mean of each pixel, rounded to the nearest."""


def pixel_statistics(data: ImageDataset) -> PixelStatistics:
    """Mean, spread and extremes of the pixels, exact: counted in whole numbers."""
    rows = np.array(spread(len(data), max(1, MOST_VALUES // int(np.prod(data.image_shape)))))
    channels = data.image_shape[0]
    counts = np.zeros((channels, 256), dtype=np.int64)
    sums = np.zeros(data.image_shape, dtype=np.int64)
    for batch in np.array_split(rows, -(-len(rows) // 500)):
        images = data.images[batch]
        sums += images.sum(axis=0, dtype=np.int64)
        for channel in range(channels):
            counts[channel] += np.bincount(images[:, channel].reshape(-1), minlength=256)
    levels, total = np.arange(256), counts.sum(axis=1)
    mean = counts @ levels / total
    variance = (counts * (levels - mean[:, None]) ** 2).sum(axis=1) / total
    mean_image = np.rint(sums / len(rows)).astype(np.uint8)
    return PixelStatistics(len(rows), mean, np.sqrt(variance), counts[:, 0] / total, counts[:, 255] / total, mean_image)


def class_counts(data: ImageDataset) -> Int64[np.ndarray, " classes"]:
    """How many images each class has; empty without labels."""
    if data.labels is None:
        return np.zeros(0, dtype=np.int64)
    return np.bincount(data.labels, minlength=len(data.class_names)).astype(np.int64)


def rows_of_class(data: ImageDataset, label: int | None) -> Int64[np.ndarray, " rows"]:
    """The rows of one class, ascending; of all where it is None."""
    if label is None or data.labels is None:
        return np.arange(len(data), dtype=np.int64)
    return np.flatnonzero(data.labels == label).astype(np.int64)


def extremes(
    elbo: Float32[np.ndarray, " n"], rows: Int64[np.ndarray, " rows"], count: int
) -> tuple[Int64[np.ndarray, " hardest"], Int64[np.ndarray, " easiest"]]:
    """Of these rows the ``count`` with the lowest ELBO, the lowest first, and the ``count`` with the highest, the highest
    first. No row is in both: of a few rows, half are hard."""
    ordered = rows[np.argsort(elbo[rows], kind="stable")]
    count = min(count, -(-len(ordered) // 2))
    return ordered[:count], ordered[count:][::-1][:count]


def closest_pairs(
    points: Float32[np.ndarray, "n latent"], count: int
) -> tuple[Int64[np.ndarray, "pairs 2"], Float32[np.ndarray, " pairs"]]:
    """The ``count`` pairs of rows whose points are nearest to each other, nearest first, and their distances; exact.

    Of each point its nearest ``count`` others suffice: in one of the ``count`` closest pairs, fewer others are nearer.
    """
    if len(points) < 2:
        return np.zeros((0, 2), dtype=np.int64), np.zeros(0, dtype=np.float32)
    rows, distances = nearest(points, points, min(count + 1, len(points)))
    first = np.repeat(np.arange(len(points)), rows.shape[1])
    pairs = np.stack([np.minimum(first, rows.reshape(-1)), np.maximum(first, rows.reshape(-1))], axis=1)
    between = pairs[:, 0] < pairs[:, 1]
    unique, where = np.unique(pairs[between], axis=0, return_index=True)
    lengths = distances.reshape(-1)[between][where]
    order = np.argsort(lengths, kind="stable")[:count]
    return unique[order], lengths[order]
