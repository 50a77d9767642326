"""A variational auto-encoder and everything around it: data, training, runs, evaluation, latent space and maps.

from vae import decode_images, encode_images, load_dataset, open_run

run = open_run("fashion-mnist")
model = run.load_model()
encodings = encode_images(model, load_dataset("fashion-mnist", "test").images[:16])
pictures = decode_images(model, encodings.mean)
"""

from vae.config import PRESETS, ConfigError, MapConfig, ModelConfig, Preset, TrainConfig
from vae.data import DataError, ImageDataset, list_datasets, load_dataset, make_dataset
from vae.device import DeviceError, choose_device, generator_for
from vae.encodings import Encodings
from vae.evaluate import Report, encode_images, evaluate, load_test_data, pixel_entropy
from vae.fit import Stopped, fit, make_map, resume
from vae.latent import anchored_steps, decode_images, filmstrip, filmstrip_points, interpolate, sample_prior, traverse
from vae.model import VAE, build_model
from vae.objective import Elbo, elbo, elbo_monte_carlo
from vae.posterior import Posterior, gaussian_kl
from vae.projection import (
    NEIGHBORS,
    fit_pca,
    fit_umap,
    nearest,
    off_manifold,
    place,
    place_among,
    typical_distances,
    walk_back,
)
from vae.runs import Map, Run, RunConfig, RunError, Status, list_runs, open_run
from vae.train import Epoch, Step, TrainingState, new_state, restore_state, train

__all__ = [
    "NEIGHBORS",
    "PRESETS",
    "VAE",
    "ConfigError",
    "DataError",
    "DeviceError",
    "Elbo",
    "Encodings",
    "Epoch",
    "ImageDataset",
    "Map",
    "MapConfig",
    "ModelConfig",
    "Posterior",
    "Preset",
    "Report",
    "Run",
    "RunConfig",
    "RunError",
    "Status",
    "Step",
    "Stopped",
    "TrainConfig",
    "TrainingState",
    "anchored_steps",
    "build_model",
    "choose_device",
    "decode_images",
    "elbo",
    "elbo_monte_carlo",
    "encode_images",
    "evaluate",
    "filmstrip",
    "filmstrip_points",
    "fit",
    "fit_pca",
    "fit_umap",
    "gaussian_kl",
    "generator_for",
    "interpolate",
    "list_datasets",
    "list_runs",
    "load_dataset",
    "load_test_data",
    "make_dataset",
    "make_map",
    "nearest",
    "new_state",
    "off_manifold",
    "open_run",
    "pixel_entropy",
    "place",
    "place_among",
    "restore_state",
    "resume",
    "sample_prior",
    "train",
    "traverse",
    "typical_distances",
    "walk_back",
]
