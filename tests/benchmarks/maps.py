"""Maps on the shipped run: a layout beside umap-learn's, one image placed, and how well."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from figures import Figure, measured
from package import timed

from vae import fit_umap, nearest, open_run, place

ROOT = Path(__file__).resolve().parents[2]
RUN = "fashion-mnist"
HELD_OUT = 1_000
PLACEMENTS = 100
TIMES_FASTER, TRUST_LOST = 3.0, 0.005
"""What a layout should reach beside umap-learn's: so many times faster, so much trustworthiness below it at most."""

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


def umap_layouts() -> list[Figure]:
    """10,000 posterior means laid out, beside umap-learn with the same seed, which keeps that to one thread: first in a fresh
    process without numba's cache (imports within the time), then again in the same process; and trustworthiness at 15
    neighbours (1 is perfect)."""
    return _layouts(0, "with that seed")


def umap_unseeded() -> list[Figure]:
    """The same beside umap-learn without a seed, on all cores; ours has one."""
    return _layouts(None, "without a seed")


def _layouts(seed: int | None, words: str) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        means, theirs = _means(), f"`umap.UMAP().fit_transform` {words}"
        ours, layout = _fresh("ours", means, 0, Path(folder))
        others, other = _fresh("umap-learn", means, seed, Path(folder))
    figures = [
        Figure(f"UMAP of 10,000 means, seeded, {which}", "s", mine, 1, "once", theirs, beside, "lower", None, TIMES_FASTER)
        for which, mine, beside in zip(("fresh install", "warm"), ours, others, strict=True)
    ]
    kept, beside = _trustworthiness(means, layout), _trustworthiness(means, other)
    least = round(beside - TRUST_LOST, 4)
    return [
        *figures,
        Figure("trustworthiness of the map, 15 neighbours", "of 1", kept, 1, "once", theirs, beside, "higher", least),
    ]


def placement() -> list[Figure]:
    """Single images placed on the map of 10,000 by `place`, their means being known; and how far from their fitted positions,
    in units of the map's median distance between nearest neighbours.

    For the second the map is fitted to all 10,000 means. Then 1,000 of them (drawn with a fixed seed) are placed among the
    other 9,000, on the positions that those have on this same map, and compared with their own. The map itself has seen the
    1,000, because two fits, one with and one without them, differ by turns and shifts of whole groups, which would be counted
    as errors of placement. Baseline: the position of the single nearest mean.
    """
    means, coordinates = _means(), fit_umap(_means())
    rows = np.random.default_rng(0).permutation(len(means))
    out, known = rows[:HELD_OUT], rows[HELD_OUT:]
    others, places = means[known], coordinates[known]
    taken = [1000 * timed(lambda row=row: place(means[row : row + 1], others, places), 1)[0] for row in out[:PLACEMENTS]]  # type: ignore[misc]
    unit = float(np.median(nearest(coordinates, coordinates, 2)[1][:, 1]))

    def errors(found: np.ndarray) -> list[float]:
        distances: list[float] = (np.linalg.norm(found - coordinates[out], axis=1) / unit).tolist()
        return distances

    ours, alone = errors(place(means[out], others, places)), errors(place(means[out], others, places, count=1))
    return [
        measured("place one image on the map", "ms", taken, target=5.0),
        measured(
            "distance from the fitted position", "of the nearest neighbours'", ours, "median", ("at the nearest image", alone)
        ),
    ]


def _means() -> np.ndarray:
    return open_run(RUN).load_encodings().map_means


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
