"""What a map shows and what colours it: arrays in, the bytes for the browser out. No Streamlit."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from dashboard.components.frames import pack, sealed_frame
from dashboard.components.latent_map.sprites import images_digest, make_sprites
from vae.palette import PETROFF

CLIPPED_PERCENT = 1.0
"""Of numbers, so many percent at either end share the end's colour: a few extreme images don't take the scale."""


@dataclass(frozen=True, eq=False)
class MapPoints:
    """The images of a map: where they lie (in two dimensions, or in three for ``latent_map_3d``), what they show, what they
    are. Constant: make it once, keep it, share it.

    ``run`` is the digest of the weights that the map belongs to; events in the browser carry it.

    Raises:
        ValueError: arrays of different lengths, coordinates that aren't finite, labels without a name, no image at all.
    """

    run: str
    coordinates: Float32[np.ndarray, "n components"]
    images: UInt8[np.ndarray, "n channels height width"]
    labels: Int64[np.ndarray, " n"] | None = None
    class_names: tuple[str, ...] = ()
    noun: str = "images"

    def __post_init__(self) -> None:
        count = len(self.images)
        if count == 0 or self.coordinates.shape not in ((count, 2), (count, 3)) or not np.isfinite(self.coordinates).all():
            raise ValueError(f"{count:,} images need as many finite places, got {self.coordinates.shape}")
        if self.labels is None:
            return
        classes = len(self.class_names)
        if self.labels.shape != (count,) or not ((self.labels >= 0) & (self.labels < classes)).all():
            raise ValueError(f"{count:,} images need as many labels from 0 to under {classes}")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def is_flat(self) -> bool:
        """Whether they lie in two dimensions."""
        return bool(self.coordinates.shape[1] == 2)

    @cached_property
    def digest(self) -> str:
        """What tells this map from others, of the same images too."""
        places = np.ascontiguousarray(self.coordinates, dtype=np.float32).tobytes()
        return hashlib.blake2b(self.run.encode() + places, digest_size=8).hexdigest()

    @cached_property
    def images_digest(self) -> str:
        """What tells these images from others. A million take a second."""
        return images_digest(self.images)

    @cached_property
    def base(self) -> bytes:
        """Places and labels, for the browser; 90 kB for 10,000 images of up to 256 classes.

        NOTE: the places as they are, not rounded to fewer bytes: browser and server must find the same rows within a lasso.
        """
        arrays = {"xy" if self.is_flat else "xyz": self.coordinates.astype(np.float32)}
        if self.labels is not None:
            few, some = (len(self.class_names) <= 2**bits for bits in (8, 16))
            arrays["labels"] = self.labels.astype(np.uint8 if few else np.uint16 if some else np.int32)
        table, body = pack(arrays)
        head = {
            "run": self.run,
            "map": self.digest,
            "count": len(self),
            "images": self.images_digest,
            "noun": self.noun,
            "classNames": list(self.class_names) if self.labels is not None else None,
            "colours": PETROFF,
            "arrays": table,
        }
        return sealed_frame(head, body)

    @cached_property
    def sprites(self) -> bytes:
        """Small pictures of all images, for the browser."""
        return make_sprites(self.images, digest=self.images_digest)


@dataclass(frozen=True, eq=False)
class Colouring:
    """A number for every image to colour it by, with what it is called and its unit ("" for none).

    Raises:
        ValueError: numbers that aren't finite.
    """

    name: str
    unit: str
    values: Float32[np.ndarray, " n"]

    def __post_init__(self) -> None:
        if self.values.ndim != 1 or not np.isfinite(self.values).all():
            raise ValueError(f"{self.name}: expected a finite number for each image")

    @cached_property
    def frame(self) -> bytes:
        """The numbers and the ends of their colour scale, for the browser."""
        low, high = np.percentile(self.values, [CLIPPED_PERCENT, 100 - CLIPPED_PERCENT])
        table, body = pack({"values": self.values.astype(np.float32)})
        head = {
            "name": self.name,
            "unit": self.unit,
            "low": float(low),
            "high": float(high),
            "clippedLow": bool(self.values.min() < low),
            "clippedHigh": bool(self.values.max() > high),
            "arrays": table,
        }
        return sealed_frame(head, body)


NO_COLOURING = sealed_frame({"name": None})


@dataclass(frozen=True)
class Mark:
    """A place on the map that belongs to no image of it, such as an uploaded picture's."""

    x: float
    y: float
    label: str


MAX_PATH = 1000
"""Places that a path may have: it travels again with every click."""


@dataclass(frozen=True)
class MapPath:
    """A line across the map through approximate placements, with what of it lies far from all images.

    ``far`` has a flag for each place; a piece of the line is far if one of its ends is.

    Raises:
        ValueError: fewer than two places or more than `MAX_PATH`, one that isn't finite, or flags of another number.
    """

    places: tuple[tuple[float, float], ...]
    far: tuple[bool, ...]

    def __post_init__(self) -> None:
        if not 2 <= len(self.places) <= MAX_PATH or len(self.far) != len(self.places):
            raise ValueError(f"a path has 2 to {MAX_PATH} places and a flag for each, got {len(self.places)}, {len(self.far)}")
        if not np.isfinite(self.places).all():
            raise ValueError("the places of a path must be finite")

    @property
    def parts(self) -> dict[str, object]:
        """What the browser draws it from: places, and the numbers of the pieces that are far."""
        pieces = range(len(self.places) - 1)
        return {
            "places": [list(place) for place in self.places],
            "far": [piece for piece in pieces if self.far[piece] or self.far[piece + 1]],
        }
