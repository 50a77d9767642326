"""A variational auto-encoder and everything around it: data, training, runs, evaluation, latent space, maps and exports.

from vae import decode_images, encode_images, load_dataset, open_run

run = open_run("fashion-mnist")
model = run.load_model()
encodings = encode_images(model, load_dataset("fashion-mnist", "test").images[:16])
pictures = decode_images(model, encodings.mean)
"""

from vae.annealing import Annealed, annealed_importance
from vae.config import MAP_PARAMETERS, PRESETS, ConfigError, MapConfig, ModelConfig, Preset, TrainConfig
from vae.data import DataError, ImageDataset, list_datasets, load_dataset, make_dataset
from vae.device import DeviceError, choose_device, generator_for, keep_freed_memory, list_devices
from vae.diagnostics import aggregate_draws, mmd_to_prior, round_trip
from vae.directions import (
    Probe,
    Separation,
    arithmetic,
    bootstrap_cosines,
    fit_probe,
    mean_difference,
    percentile_along,
    project,
    separation,
)
from vae.distributed import PeerError
from vae.drawing import Sheet, draw_animation, draw_png, draw_sheet, draw_svg
from vae.encodings import Encodings
from vae.evaluate import Report, encode_images, evaluate, load_run_data, load_test_data, pixel_entropy
from vae.export import ExportConfig, ExportError, export_run
from vae.fit import Stopped, default_map, fit, make_map, resume
from vae.full_evaluation import Figure, FullConfig, FullReport, evaluate_fully, report_from_json
from vae.history import History, read_history
from vae.html_map import map_html
from vae.inference import (
    ImportanceBound,
    Trajectory,
    Waypoint,
    climb,
    importance_bound,
    log_likelihood,
    refine,
    refining,
    standard_posterior,
)
from vae.latent import (
    anchored_steps,
    decode_images,
    filmstrip,
    filmstrip_points,
    interpolate,
    interpolate_through,
    sample_prior,
    traverse,
)
from vae.model import VAE, build_model, parameter_count
from vae.objective import Elbo, elbo, elbo_monte_carlo
from vae.onnx_export import OnnxError, decoder_onnx, encoder_onnx
from vae.options import Option, list_options
from vae.pack import Imported, import_dataset
from vae.posterior import Posterior, gaussian_kl
from vae.projection import (
    NEIGHBORS,
    fit_pca,
    fit_tsne,
    nearest,
    off_manifold,
    place,
    place_among,
    typical_distances,
    typical_mean_distances,
    walk_back,
)
from vae.run_archive import delete_run, import_run, pack_run, rename_run
from vae.runs import Map, Run, RunConfig, RunError, Status, list_runs, open_run
from vae.sheets import (
    grid_sheet,
    interpolation_animation,
    interpolation_sheet,
    prior_sheet,
    traversal_animation,
    traversal_sheet,
)
from vae.single_image import Draws, Estimate, draw_posterior, mean_of, pixel_spread, refine_image
from vae.summary import Summary, summarise
from vae.svi_run import fit_svi
from vae.svi_training import SviConfig, SviEpoch, train_svi
from vae.tables import arrays_npz, encodings_table, table_bytes
from vae.train import Epoch, Note, Step, TrainingState, new_state, restore_state, train
from vae.umap import fit_umap

__all__ = [
    "MAP_PARAMETERS",
    "NEIGHBORS",
    "PRESETS",
    "VAE",
    "Annealed",
    "ConfigError",
    "DataError",
    "DeviceError",
    "Draws",
    "Elbo",
    "Encodings",
    "Epoch",
    "Estimate",
    "ExportConfig",
    "ExportError",
    "Figure",
    "FullConfig",
    "FullReport",
    "History",
    "ImageDataset",
    "ImportanceBound",
    "Imported",
    "Map",
    "MapConfig",
    "ModelConfig",
    "Note",
    "OnnxError",
    "Option",
    "PeerError",
    "Posterior",
    "Preset",
    "Probe",
    "Report",
    "Run",
    "RunConfig",
    "RunError",
    "Separation",
    "Sheet",
    "Status",
    "Step",
    "Stopped",
    "Summary",
    "SviConfig",
    "SviEpoch",
    "TrainConfig",
    "TrainingState",
    "Trajectory",
    "Waypoint",
    "aggregate_draws",
    "anchored_steps",
    "annealed_importance",
    "arithmetic",
    "arrays_npz",
    "bootstrap_cosines",
    "build_model",
    "choose_device",
    "climb",
    "decode_images",
    "decoder_onnx",
    "default_map",
    "delete_run",
    "draw_animation",
    "draw_png",
    "draw_posterior",
    "draw_sheet",
    "draw_svg",
    "elbo",
    "elbo_monte_carlo",
    "encode_images",
    "encoder_onnx",
    "encodings_table",
    "evaluate",
    "evaluate_fully",
    "export_run",
    "filmstrip",
    "filmstrip_points",
    "fit",
    "fit_pca",
    "fit_probe",
    "fit_svi",
    "fit_tsne",
    "fit_umap",
    "gaussian_kl",
    "generator_for",
    "grid_sheet",
    "import_dataset",
    "import_run",
    "importance_bound",
    "interpolate",
    "interpolate_through",
    "interpolation_animation",
    "interpolation_sheet",
    "keep_freed_memory",
    "list_datasets",
    "list_devices",
    "list_options",
    "list_runs",
    "load_dataset",
    "load_run_data",
    "load_test_data",
    "log_likelihood",
    "make_dataset",
    "make_map",
    "map_html",
    "mean_difference",
    "mean_of",
    "mmd_to_prior",
    "nearest",
    "new_state",
    "off_manifold",
    "open_run",
    "pack_run",
    "parameter_count",
    "percentile_along",
    "pixel_entropy",
    "pixel_spread",
    "place",
    "place_among",
    "prior_sheet",
    "project",
    "read_history",
    "refine",
    "refine_image",
    "refining",
    "rename_run",
    "report_from_json",
    "restore_state",
    "resume",
    "round_trip",
    "sample_prior",
    "separation",
    "standard_posterior",
    "summarise",
    "table_bytes",
    "train",
    "train_svi",
    "traversal_animation",
    "traversal_sheet",
    "traverse",
    "typical_distances",
    "typical_mean_distances",
    "walk_back",
]
