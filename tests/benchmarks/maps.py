"""Maps and encodings on the shipped run: a layout beside umap-learn's, new images encoded, one image placed, and how well.

Each function gives one `Row` or a few; a baseline is measured in the same run.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch

from vae import choose_device, encode_images, fit_umap, load_dataset, nearest, open_run, place
from vae.device import images_at_once, to_unit

ROOT = Path(__file__).resolve().parents[2]
RUN = "fashion-mnist"
HELD_OUT = 1_000
PLACEMENTS = 100

# A layout in a process of its own, by ours or by umap-learn called plainly, each imported within the time.
FRESH = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import numpy as np
means, seed = np.load(sys.argv[2]), json.loads(sys.argv[3])
def fit():
    if sys.argv[1] == "ours":
        from vae import fit_umap
        return fit_umap(means, seed=seed)
    from umap import UMAP
    return UMAP(random_state=seed).fit_transform(means)
taken = []
for _ in range(2):
    started = time.perf_counter()
    layout = fit()
    taken.append(time.perf_counter() - started)
np.save(sys.argv[4], layout)
print(json.dumps(taken))
"""


class Row(TypedDict):
    """One figure: a value, beside a baseline of the same run where there is one. ``ratio``: how many times better."""

    figure: str
    value: float
    baseline: float | None
    ratio: float | None
    unit: str


def umap_layouts() -> list[Row]:
    """10,000 posterior means laid out, against ``umap.UMAP().fit_transform``: first in a fresh process without numba's cache
    (imports within the time), then again in the same process; and trustworthiness at 15 neighbours (1 is perfect).

    umap-learn is run with the seed 0, which keeps it to one thread, and without one, on all cores; ours has the seed 0.
    """
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        means = _means()
        ours, layout = _fresh("ours", means, 0, Path(folder))
        kept = _trustworthiness(means, layout)
        for seed, words in ((0, "seeded"), (None, "without a seed")):
            theirs, layout = _fresh("umap-learn", means, seed, Path(folder))
            for which, mine, other in zip(("fresh install", "warm"), ours, theirs, strict=True):
                rows.append(_row(f"UMAP of 10,000 means, {which}; umap-learn {words}", mine, "s", other))
            rows.append(
                _row(f"trustworthiness, umap-learn {words}", kept, "of 1", _trustworthiness(means, layout), higher=True)
            )
    return rows


def encoding() -> list[Row]:
    """Means and log-variances of 10,000 images in fp32, beside encoding and scoring them."""
    model, images = open_run(RUN).load_model(choose_device()), load_dataset(RUN, "test").images
    device, count = next(model.parameters()).device, images_at_once(500, images.shape[1:])

    @torch.no_grad()
    def encode() -> None:
        for start in range(0, len(images), count):
            posterior = model.encode(to_unit(torch.tensor(images[start : start + count], device=device)))
            posterior.mean.cpu(), posterior.logvar.cpu()

    return [
        _row(
            "encode 10,000 images; beside: and score them", _median(encode), "s", _median(lambda: encode_images(model, images))
        )
    ]


def placement() -> list[Row]:
    """One image placed on the map of 10,000 by `place`, its mean being known."""
    means, coordinates = _means(), _coordinates()
    queries = np.random.default_rng(0).choice(len(means), PLACEMENTS, replace=False)
    others = np.delete(np.arange(len(means)), queries)
    known, places = means[others], coordinates[others]
    taken = [_seconds(lambda row=row: place(means[row : row + 1], known, places)) for row in queries]  # type: ignore[misc]
    return [_row("place one image on the map, median", 1000 * statistics.median(taken), "ms")]


def placement_agreement() -> list[Row]:
    """How far a placement is from the fitted position: the median over 1,000 images, in units of the map's median distance
    between nearest neighbours.

    The map is fitted to all 10,000 means. Then 1,000 of them (drawn with a fixed seed) are placed among the other 9,000, on the
    positions that those have on this same map, and compared with their own. The map itself has seen the 1,000, because two
    fits, one with and one without them, differ by turns and shifts of whole groups, which would be counted as errors of
    placement. Baseline: the position of the single nearest mean.
    """
    means, coordinates = _means(), fit_umap(_means())
    rows = np.random.default_rng(0).permutation(len(means))
    out, known = rows[:HELD_OUT], rows[HELD_OUT:]
    unit = float(np.median(nearest(coordinates, coordinates, 2)[1][:, 1]))
    wanted = coordinates[out]

    def error(found: np.ndarray) -> float:
        return float(np.median(np.linalg.norm(found - wanted, axis=1))) / unit

    placed = error(place(means[out], means[known], coordinates[known]))
    alone = error(place(means[out], means[known], coordinates[known], count=1))
    return [
        _row("placement error of 1,000 held out, median; beside: at the nearest", placed, "nearest-neighbour distances", alone)
    ]


ALL: tuple[Callable[[], list[Row]], ...] = (umap_layouts, encoding, placement, placement_agreement)


def _means() -> np.ndarray:
    encodings = open_run(RUN).load_encodings()
    return np.ascontiguousarray(encodings.mean[:, encodings.map_dimensions])


def _coordinates() -> np.ndarray:
    run = open_run(RUN)
    return run.load_map(run.list_maps()[0]).coordinates


def _fresh(by: str, means: np.ndarray, seed: int | None, folder: Path) -> tuple[list[float], np.ndarray]:
    """Seconds of the first and the second layout of a fresh process without numba's cache, and the layout."""
    points, made = folder / "means.npy", folder / "layout.npy"
    np.save(points, means)
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, "-c", FRESH, by, str(points), json.dumps(seed), str(made)]
        environment = os.environ | {"NUMBA_CACHE_DIR": cache}
        done = subprocess.run(command, check=True, cwd=ROOT, env=environment, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1]), np.load(made)


def _trustworthiness(means: np.ndarray, layout: np.ndarray) -> float:
    from sklearn.manifold import trustworthiness

    return float(trustworthiness(means, layout, n_neighbors=15))


def _row(figure: str, value: float, unit: str, baseline: float | None = None, higher: bool = False) -> Row:
    ratio = None if baseline is None else value / baseline if higher else baseline / value
    return {"figure": figure, "value": value, "baseline": baseline, "ratio": ratio, "unit": unit}


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _median(work: Callable[[], object]) -> float:
    work()
    return statistics.median(_seconds(work) for _ in range(5))


if __name__ == "__main__":
    for section in ALL:
        for row in section():
            print(row, flush=True)
