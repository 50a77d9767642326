"""The shipped model on all 70,000 images of its data set."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import json
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from live import folders

from vae import MapConfig, Run, evaluate, load_dataset, make_map, open_run
from vae.data import DATA_VARIABLE
from vae.runs import CHECKPOINTS_VARIABLE


@contextlib.contextmanager
def seventy_thousand() -> Iterator[dict[str, str]]:
    """An environment in which the shipped model is shown on all 70,000 images of its data set, laid out by PCA."""
    with tempfile.TemporaryDirectory() as folder:
        data, runs = Path(folder) / "data" / "all", Path(folder) / "checkpoints"
        data.mkdir(parents=True)
        shipped = open_run("fashion-mnist")
        splits = [load_dataset("fashion-mnist", split) for split in ("train", "validation", "test")]
        images = np.concatenate([split.images for split in splits])[:, 0]
        labels = np.concatenate([split.labels for split in splits if split.labels is not None]).astype(np.uint8)
        for part, count in (("test", len(images)), ("train", 100)):
            _write_idx(data / f"{part}-images-idx3-ubyte.gz", images[:count])
            _write_idx(data / f"{part}-labels-idx1-ubyte.gz", labels[:count])
        (data / "classes.txt").write_text("\n".join(splits[0].class_names))
        with folders(**{DATA_VARIABLE: str(data.parent), CHECKPOINTS_VARIABLE: str(runs)}) as environment:
            _adopt(shipped, runs / "all")
            yield environment


def _adopt(shipped: Run, folder: Path) -> None:
    folder.mkdir(parents=True)
    shutil.copy(shipped.path / "weights.safetensors", folder)
    digests = {split: load_dataset("all", split).digest for split in ("train", "validation", "test")}
    values = dataclasses.asdict(shipped.config) | {"format": 1, "dataset": "all", "data_digests": digests}
    (folder / "config.json").write_text(json.dumps(values))
    run = open_run("all")
    evaluate(run)
    make_map(run, MapConfig(method="pca"))


def _write_idx(path: Path, array: np.ndarray) -> None:
    head = b"\x00\x00\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(head + array.tobytes())
