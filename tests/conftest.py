"""Shared by all tests: shapes are checked while they run, and small data sets and runs stand in for the large ones."""

from __future__ import annotations

import gzip
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
from hypothesis import settings

# A test takes the time it takes, and what passed yesterday passes today.
settings.register_profile("steady", deadline=None, derandomize=True, database=None)
settings.load_profile("steady")

# NOTE: before anything imports vae. Outside the tests the annotations are only read by people and by mypy. vae.config,
# vae.images and the command line are left out: what reaches them may be of any type, and they say so in sentences.
MODULES = (
    "annealing arrays curves data device diagnostics directions distributed drawing encodings evaluate fit folders "
    "full_evaluation html_map inference judging latent likelihood match model objective onnx_export pack package "
    "parquet posterior preview probes projection readers runs shapes sheets signals sources staged stopping survey svi_run "
    "svi_training tables train verdict"
)
jaxtyping.install_import_hook([f"vae.{module}" for module in MODULES.split()], "beartype.beartype")

from vae.config import ModelConfig, TrainConfig  # noqa: E402
from vae.data import DATA_VARIABLE  # noqa: E402
from vae.fit import fit  # noqa: E402
from vae.runs import CHECKPOINTS_VARIABLE, Run, open_run  # noqa: E402

TINY_MODEL = ModelConfig(channels=1, height=8, width=8, latent=3, widths=(4,), blocks=1, hidden=8)
TINY_TRAIN = TrainConfig(epochs=2, batch_size=16, learning_rate=1e-2, precision="fp32")


@dataclass(frozen=True)
class Workspace:
    """Folders for data and runs that belong to one test."""

    data: Path
    checkpoints: Path


def idx_bytes(array: np.ndarray) -> bytes:
    """An array of uint8 in IDX format."""
    return b"\x00\x00\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture(scope="session")
def write_idx() -> Callable[[Path, np.ndarray], None]:
    """Write an array as IDX, compressed if the name ends in ``.gz``."""

    def write(path: Path, array: np.ndarray) -> None:
        content = idx_bytes(array)
        path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)

    return write


def garments(count: int, seed: int, shape: tuple[int, ...] = (8, 8)) -> tuple[np.ndarray, np.ndarray]:
    """Small images of three kinds (left, right, whole) with noise, and their labels."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count).astype(np.uint8)
    images = random.integers(0, 40, (count, *shape)).astype(np.uint8)
    half = shape[-1] // 2
    for image, label in zip(images, labels, strict=True):
        image[..., (slice(0, half), slice(half, None), slice(None))[label]] += 180
    return images, labels


def write_tiny_data(folder: Path, write: Callable[[Path, np.ndarray], None]) -> None:
    """A labelled data set of 60 training and 24 test images of 8 x 8."""
    folder.mkdir(parents=True)
    for part, count, seed in (("train", 60, 1), ("t10k", 24, 2)):
        images, labels = garments(count, seed)
        write(folder / f"{part}-images-idx3-ubyte.gz", images)
        write(folder / f"{part}-labels-idx1-ubyte", labels)
    (folder / "classes.txt").write_text("left\nright\nwhole\n")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_idx: Callable[[Path, np.ndarray], None]) -> Workspace:
    """Empty checkpoints and a data folder that holds the data set ``tiny``."""
    space = Workspace(tmp_path / "data", tmp_path / "checkpoints")
    space.checkpoints.mkdir()
    write_tiny_data(space.data / "tiny", write_idx)
    monkeypatch.setenv(DATA_VARIABLE, str(space.data))
    monkeypatch.setenv(CHECKPOINTS_VARIABLE, str(space.checkpoints))
    return space


@pytest.fixture(scope="session")
def tiny_run_source(tmp_path_factory: pytest.TempPathFactory, write_idx: Callable[[Path, np.ndarray], None]) -> Path:
    """The folder of a run called ``tiny-run``, trained once for all tests."""
    import torch

    root = tmp_path_factory.mktemp("source")
    write_tiny_data(root / "data" / "tiny", write_idx)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(DATA_VARIABLE, str(root / "data"))
        patch.setenv(CHECKPOINTS_VARIABLE, str(root / "checkpoints"))
        return fit("tiny-run", "tiny", TINY_MODEL, TINY_TRAIN, "fast", torch.device("cpu")).path


@pytest.fixture
def tiny_run(workspace: Workspace, tiny_run_source: Path) -> Run:
    """A finished run in the test's own workspace."""
    shutil.copytree(tiny_run_source, workspace.checkpoints / "tiny-run")
    return open_run("tiny-run")
