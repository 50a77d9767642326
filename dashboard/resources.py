"""Every cached thing: a run with its model, test data, encodings and map. Read-only, loaded once, shared by all visitors."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import streamlit as st
from jaxtyping import Float32, UInt8

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
    load_test_data,
    open_run,
    place,
)


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
    """A run that is ready to look at. ``map`` is None where the run has none that fits its weights and data."""

    run: Run
    weights_digest: str
    data: ImageDataset
    encodings: Encodings
    map: Map | None
    map_problem: str | None
    """Why there is no map, as a sentence."""
    model: VAE
    lock: threading.Lock
    """Held around the model: visitors share it."""

    @property
    def latent(self) -> int:
        """The number of latent dimensions."""
        return self.run.config.model.latent

    def decode(self, z: Float32[np.ndarray, "count latent"]) -> Float32[np.ndarray, "count channels height width"]:
        """``E[x|z]`` of each point, in [0, 1]."""
        with self.lock:
            return decode_images(self.model, z)

    def encode(self, images: UInt8[np.ndarray, "count channels height width"], seed: int = 0) -> Encodings:
        """q(z|x) and ELBO terms (one sample of z) of images that are not in the test set."""
        with self.lock:
            return encode_images(self.model, images, seed=seed)

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

    def place(self, z: Float32[np.ndarray, "count latent"]) -> Float32[np.ndarray, "count 2"] | None:
        """An approximate position on the map for each point, or None without a map."""
        if self.map is None:
            return None
        used = self.encodings.map_dimensions
        return place(z[:, used], self.encodings.mean[:, used], self.map.coordinates)


def load_run(name: str) -> LoadedRun:
    """The run of that name, loaded once for all visitors and again when its files change.

    Raises:
        RunError, DataError: it, or the data it was trained on, can't be used.
    """
    return _load(name, _fingerprint(open_run(name)))


def _fingerprint(run: Run) -> tuple[tuple[str, int, int], ...]:
    """What changes when the files that are loaded change: their sizes and times."""
    files = [run.path / name for name in ("config.json", "weights.safetensors", "encodings.npz")]
    files += sorted((run.path / "maps").glob("*.npz"))
    stats = [(file.name, file.stat()) for file in files if file.exists()]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


@st.cache_resource(max_entries=4, show_spinner="Loading the run: weights, images and map")
def _load(name: str, fingerprint: tuple[tuple[str, int, int], ...]) -> LoadedRun:
    del fingerprint  # part of the cache's key only
    run = open_run(name)
    digest = run.weights_digest()
    model = run.load_model(choose_device())
    data = load_test_data(run)
    encodings = run.load_encodings()
    if len(encodings) != len(data):
        raise RunError(f"{run.path}: {len(encodings):,} encodings for {len(data):,} test images: remake them with evaluate")
    found, problem = _find_map(run)
    return LoadedRun(run, digest, data, encodings, found, problem, model, threading.Lock())


def _find_map(run: Run) -> tuple[Map | None, str | None]:
    """The default map, else any that fits."""
    try:
        return run.load_map(MapConfig()), None
    except RunError as error:
        others = run.list_maps()
        if others:
            return run.load_map(others[0]), None
        return None, str(error)
