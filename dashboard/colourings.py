"""What a map can be coloured by: class, or a number of each image."""

from __future__ import annotations

import numpy as np
import streamlit as st
from jaxtyping import Float32

from dashboard.components.latent_map import Colouring
from dashboard.resources import LoadedRun
from vae import Encodings

CLASS = "class"
_TERMS = {
    "elbo": "−ELBO",
    "reconstruction": "Reconstruction term, −log p(x|z)",
    "kl": "KL(q(z|x) ‖ p(z))",
    "sigma": "Mean posterior σ, active dimensions",
}


def colouring_names(loaded: LoadedRun) -> list[str]:
    """What this run's maps can be coloured by, the usual one first; dimensions by KL, the strongest first."""
    classes = [] if loaded.data.labels is None else [CLASS]
    return [*classes, *_TERMS, *(f"z{dimension}" for dimension in loaded.encodings.order)]


def colouring_title(name: str, encodings: Encodings) -> str:
    """A colouring's name as a person reads it."""
    if name == CLASS:
        return "Class"
    if name in _TERMS:
        return _TERMS[name]
    dimension = int(name[1:])
    return f"Dimension {dimension}, posterior mean (KL {encodings.kl_per_dimension[dimension]:.2f} nats)"


def find_colouring(loaded: LoadedRun, name: str) -> Colouring | None:
    """The numbers of a colouring; None for colouring by class."""
    return None if name == CLASS else _make(loaded.weights_digest, loaded.data.digest, name, loaded.encodings)


@st.cache_resource(max_entries=64, show_spinner=False)
def _make(weights: str, data: str, name: str, _encodings: Encodings) -> Colouring:
    del weights, data  # parts of the cache's key
    title = _TERMS.get(name, f"Dimension {name[1:]}, posterior mean")
    return Colouring(title, "" if name == "sigma" or name[0] == "z" else "nats", _values(name, _encodings))


def _values(name: str, encodings: Encodings) -> Float32[np.ndarray, " n"]:
    if name == "elbo":
        return -encodings.elbo
    if name == "reconstruction":
        return -encodings.reconstruction
    if name == "kl":
        return encodings.kl
    if name == "sigma":
        return np.asarray(np.exp(encodings.logvar[:, encodings.map_dimensions] / 2).mean(axis=1), dtype=np.float32)
    return np.ascontiguousarray(encodings.mean[:, int(name[1:])])
