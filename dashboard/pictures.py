"""Model images as things that a page shows and offers for download. No Streamlit."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pandas as pd
from jaxtyping import Float32, UInt8

from vae.images import to_png

SHOWN_PIXELS = 224
HEAT = ((0, 0, 0), (60, 9, 101), (160, 40, 100), (225, 85, 45), (250, 165, 20), (252, 255, 175))
"""The colours of a heat map, from none to most."""


def to_uint8(image: Float32[np.ndarray, "channels height width"]) -> UInt8[np.ndarray, "channels height width"]:
    """A decoded image in [0, 1] as bytes, rounded to the nearest."""
    return np.asarray(np.rint(np.clip(image, 0.0, 1.0) * 255), dtype=np.uint8)


def difference(
    first: UInt8[np.ndarray, "channels height width"], second: UInt8[np.ndarray, "channels height width"]
) -> UInt8[np.ndarray, "channels height width"]:
    """``|first - second|`` of each value: black where they agree."""
    return np.abs(first.astype(np.int16) - second.astype(np.int16)).astype(np.uint8)


def heat(values: Float32[np.ndarray, "height width"], top: float) -> UInt8[np.ndarray, "3 height width"]:
    """Colours from black (0) over purple and orange to pale yellow (``top`` and above); lighter is always more."""
    position = np.clip(values / max(top, 1e-12), 0, 1) * (len(HEAT) - 1)
    low = np.minimum(position.astype(np.int64), len(HEAT) - 2)
    part = (position - low)[..., None]
    stops = np.array(HEAT, dtype=np.float64)
    mixed: np.ndarray = stops[low] * (1 - part) + stops[low + 1] * part
    return np.asarray(np.rint(mixed).astype(np.uint8).transpose(2, 0, 1))


def enlarged(image: UInt8[np.ndarray, "channels height width"]) -> bytes:
    """A PNG of the image, each pixel a square, about `SHOWN_PIXELS` wide."""
    return to_png(image, scale=max(1, SHOWN_PIXELS // image.shape[-1]))


def original_size(image: UInt8[np.ndarray, "channels height width"]) -> bytes:
    """A PNG of the image, pixel for pixel."""
    return to_png(image)


def point_csv(
    z: Float32[np.ndarray, " latent"], mean: Float32[np.ndarray, " latent"], logvar: Float32[np.ndarray, " latent"]
) -> bytes:
    """The latent point as a table: dimension, value, and the image's posterior mean and standard deviation."""
    table = pd.DataFrame({"dimension": range(len(z)), "z": z, "posterior_mean": mean, "posterior_std": np.exp(logvar / 2)})
    return table.to_csv(index=False).encode()


def numbers_json(reconstruction: float, kl: float) -> bytes:
    """The ELBO terms of an image as JSON, with their unit and sample count: ``elbo = reconstruction - kl``."""
    values = {"elbo": reconstruction - kl, "reconstruction": reconstruction, "kl": kl, "unit": "nats", "samples": 1}
    return (json.dumps(values, indent=2) + "\n").encode()


def zip_of(pictures: dict[str, bytes]) -> bytes:
    """The files, by name, in one zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in pictures.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def point_npy(z: Float32[np.ndarray, " latent"]) -> bytes:
    """The latent point as a ``.npy`` file."""
    buffer = io.BytesIO()
    np.save(buffer, z, allow_pickle=False)
    return buffer.getvalue()
