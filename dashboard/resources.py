"""Every cached thing: a run with its model, test data, encodings and map. Read-only, loaded once, shared by all visitors."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import streamlit as st
from jaxtyping import Float32, UInt8

from dashboard.components.latent_map import MapPoints
from dashboard.turns import Result, Turns
from vae import (
    VAE,
    Encodings,
    ImageDataset,
    Map,
    MapConfig,
    Run,
    RunError,
    choose_device,
    decode_images,
    encode_images,
    generator_for,
    keep_freed_memory,
    load_test_data,
    nearest,
    open_run,
    place,
    typical_distances,
    walk_back,
)

SERVING_PRECISION = "bf16"
"""What pictures are decoded in, where the device gains by it: every decoded picture on screen comes from the same decoder,
so that a frame under the thumb is what the page shows when it is let go. Encodings and numbers are computed in fp32."""


@dataclass(frozen=True, eq=False)
class Subject:
    """The image that is looked at: one of the test set, or one from outside. ELBO terms from one sample of z, in nats."""

    pixels: UInt8[np.ndarray, "channels height width"]
    row: int | None
    """Its row in the test set, None for an image from outside."""
    class_name: str | None
    mean: Float32[np.ndarray, " latent"]
    logvar: Float32[np.ndarray, " latent"]
    reconstruction: float
    kl: float

    @property
    def title(self) -> str:
        """A few words that name the image."""
        if self.row is None:
            return "your image"
        return f"test image {self.row}" + (f", {self.class_name}" if self.class_name else "")


@dataclass(frozen=True, eq=False)
class LoadedRun:
    """A run that is ready to look at."""

    run: Run
    weights_digest: str
    data: ImageDataset
    encodings: Encodings
    model: VAE
    lock: threading.Lock
    """Held around the model: visitors share it."""
    turns: Turns
    """For what a person waits for: filmstrips, pictures, an image's encoding."""

    @property
    def latent(self) -> int:
        """The number of latent dimensions."""
        return self.run.config.model.latent

    @property
    def device(self) -> str:
        """The device that the model is on, where generators for it must be."""
        return str(next(self.model.parameters()).device)

    def in_turn(self, work: Callable[[int], Result]) -> Result:
        """What ``work`` makes with the model when its turn has come; it is told the crowd (`Turns`)."""

        def alone(crowd: int) -> Result:
            with self.lock:
                return work(crowd)

        return self.turns.take(alone)

    def decode(self, z: Float32[np.ndarray, "count latent"]) -> Float32[np.ndarray, "count channels height width"]:
        """``E[x|z]`` of each point, in [0, 1], in `SERVING_PRECISION`."""
        return self.in_turn(lambda _: decode_images(self.model, z, SERVING_PRECISION))

    def encode(self, images: UInt8[np.ndarray, "count channels height width"], seed: int = 0) -> Encodings:
        """q(z|x) and ELBO terms (one sample of z) of images that are not in the test set."""
        return self.in_turn(lambda _: encode_images(self.model, images, seed=seed))

    def subject(self, row: int) -> Subject:
        """A test image as the thing that is looked at."""
        encodings = self.encodings
        return Subject(
            pixels=self.data.images[row],
            row=row,
            class_name=self.data.class_name(row),
            mean=encodings.mean[row],
            logvar=encodings.logvar[row],
            reconstruction=float(encodings.reconstruction[row]),
            kl=float(encodings.kl[row]),
        )

    def subject_from_outside(self, pixels: UInt8[np.ndarray, "channels height width"]) -> Subject:
        """An image of the model's shape from outside, encoded."""
        encoded = self.encode(pixels[None])
        terms = float(encoded.reconstruction[0]), float(encoded.kl[0])
        return Subject(pixels, None, None, encoded.mean[0], encoded.logvar[0], *terms)

    @cached_property
    def typical(self) -> Float32[np.ndarray, " samples"]:
        """How far samples of the aggregate posterior lie from the encoded images: what the off-manifold meter measures by."""
        encodings, used = self.encodings, self.encodings.map_dimensions
        among = encodings.reference_means
        return typical_distances(encodings.map_means, encodings.logvar[:, used], generator_for(0, "view"), among=among)

    def nearest_rows(self, z: Float32[np.ndarray, " latent"], count: int, without: int | None = None) -> list[int]:
        """The rows of the test images whose posterior means lie nearest to a point, nearest first, in the active
        dimensions; ``without`` is left out."""
        used, wanted = self.encodings.map_dimensions, min(count + 1, len(self.data))
        rows, _ = nearest(z[None, used], self.encodings.map_means, wanted)
        return [row for row in rows[0].tolist() if row != without][:count]


@dataclass(frozen=True, eq=False)
class ShownMap:
    """A map that is ready to be drawn and placed on."""

    map: Map
    points: MapPoints
    """What the browser draws, made once for all visitors."""

    @property
    def is_flat(self) -> bool:
        """Whether it has two dimensions, so that points can be placed on it and walked back from it."""
        return self.points.is_flat

    def place(self, z: Float32[np.ndarray, "count latent"], encodings: Encodings) -> Float32[np.ndarray, "count 2"]:
        """An approximate position on the map for each point."""
        return place(z[:, encodings.map_dimensions], encodings.reference_means, self.map.coordinates[encodings.reference])

    def walk_back(
        self, x: float, y: float, encodings: Encodings, z: Float32[np.ndarray, " latent"]
    ) -> Float32[np.ndarray, " latent"]:
        """``z`` with its active dimensions changed to an estimate of the latent point at a place of the map."""
        point, used = z.astype(np.float32), encodings.map_dimensions
        places = self.map.coordinates[encodings.reference]
        point[used] = walk_back(np.array([[x, y]]), places, encodings.reference_means)[0]
        return point


def load_run(name: str) -> LoadedRun:
    """The run of that name, loaded once for all visitors and again when its files change.

    Raises:
        RunError, DataError: it, or the data it was trained on, can't be used.
    """
    run = open_run(name)
    return _load(run.path, _fingerprint([run.path / file for file in ("config.json", "weights.safetensors", "encodings.npz")]))


def find_map(loaded: LoadedRun, asked: MapConfig | None) -> tuple[ShownMap | None, str | None]:
    """The map that was asked for, else the default one, else any that fits the run's weights and data.

    Returns:
        The map, or None and a sentence that says why there is none.
    """
    run = loaded.run
    kept = _fingerprint(sorted((run.path / "maps").glob("*.npz")))
    return _find_map(run.path, loaded.weights_digest, loaded.data.digest, asked, kept, loaded)


Fingerprint = tuple[tuple[str, int, int], ...]


def _fingerprint(files: list[Path]) -> Fingerprint:
    """What changes when files change: their sizes and times."""
    stats = [(file.name, file.stat()) for file in files if file.exists()]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


@st.cache_resource(max_entries=4, show_spinner="Loading the run: weights, images and encodings")
def _load(path: Path, fingerprint: Fingerprint) -> LoadedRun:
    del fingerprint  # part of the cache's key only
    keep_freed_memory()  # a third off the time of a decode, measured on two cores
    run = open_run(path)
    digest = run.weights_digest()
    model = run.load_model(choose_device())
    data = load_test_data(run)
    encodings = run.load_encodings()
    if len(encodings) != len(data):
        raise RunError(f"{run.path}: {len(encodings):,} encodings for {len(data):,} test images: remake them with evaluate")
    first = encode_images(model, data.images[:1])
    answers = (decode_images(model, encodings.mean[:1]), first.mean, first.logvar, first.reconstruction)
    if not all(np.isfinite(answer).all() for answer in answers):  # of finite weights, too, if they are large enough
        raise RunError(
            f"{run.path}: expected a model that answers in numbers, found NaN or infinity for the first test image: "
            "restore its weights, or train it anew"
        )
    gc.freeze()  # Streamlit collects garbage after every run of a page: what is loaded for all need not be searched each time
    return LoadedRun(run, digest, data, encodings, model, threading.Lock(), Turns())


@st.cache_resource(max_entries=8, show_spinner="Loading the map")
def _find_map(
    path: Path, weights: str, data: str, asked: MapConfig | None, kept: Fingerprint, _loaded: LoadedRun
) -> tuple[ShownMap | None, str | None]:
    del path, weights, data, kept  # parts of the cache's key
    run = _loaded.run
    problem = None
    for config in (asked, MapConfig(), *sorted(run.list_maps(), key=lambda config: config.components)):
        if config is None:
            continue
        try:
            found = run.load_map(config)
        except RunError as error:
            problem = problem or str(error)
            continue
        if len(found.coordinates) == len(_loaded.data):
            return ShownMap(found, _points(found, _loaded)), None
        problem = f"{run.path}: a map of {len(found.coordinates):,} places for {len(_loaded.data):,} images"
    return None, problem


def _points(found: Map, loaded: LoadedRun) -> MapPoints:
    data = loaded.data
    points = MapPoints(loaded.weights_digest, found.coordinates, data.images, data.labels, data.class_names, "test images")
    _ = points.base, points.sprites  # packed now, once, not while somebody waits for a page
    return points
