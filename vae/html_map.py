"""A map as one HTML file that needs nothing else: points, thumbnails and plotly.js are all inside, and nothing is fetched."""

from __future__ import annotations

import base64
import html
import io
import json
import math
from pathlib import Path
from string import Template

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch.nn import functional as F

from vae.data import ImageDataset
from vae.drawing import printable, viewable
from vae.encodings import Encodings
from vae.palette import PETROFF, SYMBOLS
from vae.runs import Map

MAX_SPRITE_PIXELS = 2**24
"""How many pixels all thumbnails have together, the most that every browser draws from one picture. Fashion-MNIST's 10,000
take half of it; larger images are shrunk, and the page says so."""
_BATCH = 1024

Images = UInt8[np.ndarray, "count channels height width"]


def map_html(run: str, encodings: Encodings, data: ImageDataset, found: Map, weights_digest: str = "") -> bytes:
    """The page: the map coloured by class (by ELBO in a data set without labels), a thumbnail of the image under the
    pointer, light or dark as the visitor's system is. About 5 MB of plotly.js and 0.6 kB for each image of 28 x 28.

    Names of the run and of classes are shown as text, whatever is in them. A policy in the page forbids every request.

    Raises:
        ValueError: encodings, data and map that aren't of the same images, or a map that isn't flat.
    """
    from plotly.offline import get_plotlyjs

    if not len(encodings) == len(data) == len(found.coordinates):
        raise ValueError(f"expected {len(encodings):,} images and places on the map, as many as encodings")
    if found.config.components != 2:
        raise ValueError("expected a flat map, got one in three dimensions")
    small, factor = thumbnails(data.images)
    sprite, columns = sprite_png(small)
    _, height, width = small.shape[1:]
    points = {
        "x": _packed(found.coordinates[:, 0], "<f4"),
        "y": _packed(found.coordinates[:, 1], "<f4"),
        "elbo": _packed(encodings.elbo, "<f4"),
        "labels": None if data.labels is None else _packed(data.labels, "<i4"),
        "names": [printable(name) for name in data.class_names],
        "colours": PETROFF,
        "symbols": SYMBOLS,
        "sprite": {"width": width, "height": height, "columns": columns},
    }
    shown = (
        f"{len(data):,} of {len(data):,} test images of {data.name} shown; {_parameters(found)}. "
        "The ELBO is in nats, from one sample of z." + (f" Weights {weights_digest}." if weights_digest else "")
    )
    page = Template((Path(__file__).with_name("map_page.html")).read_text("utf-8")).substitute(
        title=html.escape(printable(f"{run}: map of latent space")),
        shown=html.escape(printable(shown)),
        thumbnails=html.escape(_about_thumbnails(data.image_shape, (height, width), factor)),
        sprite=f"data:image/png;base64,{base64.b64encode(sprite).decode()}",
        plotly=get_plotlyjs(),
        points=_script_json(points),
    )
    return page.encode()


def thumbnails(images: Images, most: int = MAX_SPRITE_PIXELS) -> tuple[UInt8[np.ndarray, "count shown rows columns"], int]:
    """The images as they can be looked at, and the whole factor that each side had to be divided by so that all together
    hold at most ``most`` pixels (each pixel is then the mean of a square)."""
    images = viewable(images)
    count, _, height, width = images.shape
    factor = 1
    while count * math.ceil(height / factor) * math.ceil(width / factor) > most and factor < max(height, width):
        factor += 1
    if factor == 1:
        return images, factor
    parts = []
    for start in range(0, count, _BATCH):
        batch = torch.tensor(images[start : start + _BATCH]).float()
        parts.append(F.avg_pool2d(batch, factor, ceil_mode=True).round().to(torch.uint8).numpy())
    return np.concatenate(parts), factor


def sprite_png(images: Images) -> tuple[bytes, int]:
    """All images side by side in one PNG, about as wide as it is high, and how many stand in a row."""
    count, channels, height, width = images.shape
    columns = max(1, round(math.sqrt(count * height / width)))
    rows = math.ceil(count / columns)
    sheet = np.zeros((rows * columns, channels, height, width), dtype=np.uint8)
    sheet[:count] = images
    whole = sheet.reshape(rows, columns, channels, height, width).transpose(0, 3, 1, 4, 2)
    whole = whole.reshape(rows * height, columns * width, channels)
    buffer = io.BytesIO()
    Image.fromarray(whole[..., 0] if channels == 1 else whole).save(buffer, "PNG")
    return buffer.getvalue(), columns


def _packed(values: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values.astype(kind)).tobytes()).decode()


def _script_json(values: object) -> str:
    """JSON that can't end the script element it stands in."""
    text = json.dumps(values, allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _parameters(found: Map) -> str:
    words = [f"{found.config.title} of the posterior means in the active dimensions", *found.config.parameter_words]
    return ", ".join([*words, found.part_words] if found.part_words else words)


def _about_thumbnails(shape: tuple[int, int, int], small: tuple[int, int], factor: int) -> str:
    channels, height, width = shape
    shown = 3 if channels >= 3 else 1
    size = f"{height} x {width} pixels" + (f" (the first {shown} of {channels} channels)" if shown < channels else "")
    if factor == 1:
        return f"Point at an image to see it, {size}."
    return f"Point at an image to see it, shrunk to {small[0]} x {small[1]} of its {size} so that the page stays small."
