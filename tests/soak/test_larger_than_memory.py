"""A training on images that stay on the disk, in a process whose own memory is watched from outside.

What counts is RssAnon: what the process holds for itself. Pages of the mapped file (RssFile) are the system's to take back.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from vae.data import DATA_VARIABLE
from vae.runs import CHECKPOINTS_VARIABLE

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc"),
]
SHAPE = (3, 128, 128)
BLOCK, BLOCKS = 1000, 31
"""31,000 images: 1,523,712,000 bytes."""
TRAIN = """
import sys, torch, vae
from vae.fit import fit
sys.modules["vae.train"].MEMORY_SHARE = float(sys.argv[1])
model = vae.ModelConfig(3, 128, 128, latent=2, widths=(2, 2, 2, 2), blocks=0, hidden=4)
fit("large", "large", model, vae.TrainConfig(epochs=1, batch_size=64), "fast", torch.device("cpu"))
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A packed data set whose training images take 1.5 GB on the disk, every byte written."""
    root = tmp_path_factory.mktemp("large")
    packed = root / "data" / "large" / "packed"
    packed.mkdir(parents=True)
    random = np.random.default_rng(0)
    for split, blocks in (("train", BLOCKS), ("validation", 1), ("test", 1)):
        images = np.lib.format.open_memmap(
            packed / f"{split}-images.npy", mode="w+", dtype=np.uint8, shape=(blocks * BLOCK, *SHAPE)
        )
        for block in range(blocks):
            images[block * BLOCK : (block + 1) * BLOCK] = random.integers(0, 256, (BLOCK, *SHAPE), dtype=np.uint8)
        images.flush()
    yield {DATA_VARIABLE: str(root / "data"), CHECKPOINTS_VARIABLE: str(root / "checkpoints")}
    shutil.rmtree(root)


def train(share: float, folders: dict[str, str], most: int) -> tuple[int, bool]:
    """Train one epoch where files above ``share`` of the memory stay on the disk; returns the most bytes of anonymous memory
    that the process was seen with, and whether it ended well. Seen with more than ``most``, it is killed."""
    environment = os.environ | folders | {"OMP_NUM_THREADS": "2"}
    process = subprocess.Popen([sys.executable, "-c", TRAIN, str(share)], env=environment)
    peak = 0
    try:
        while process.poll() is None and peak <= most:
            status = Path(f"/proc/{process.pid}/status").read_text()
            found = re.search(r"RssAnon:\s+(\d+) kB", status)
            peak = max(peak, 1024 * int(found.group(1)) if found else 0)  # there is none once it has ended
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    return peak, process.returncode == 0


def test_a_training_holds_a_fraction_of_a_mapped_file(folders: dict[str, str]) -> None:
    size = (Path(folders[DATA_VARIABLE]) / "large" / "packed" / "train-images.npy").stat().st_size
    peak, ended = train(0.0, folders, most=size)
    print(f"mapped: {peak / 1e6:,.0f} MB of anonymous memory at most, for a file of {size / 1e6:,.0f} MB")
    assert ended
    assert peak < size / 2


def test_the_measure_sees_a_training_that_holds_the_whole_file(folders: dict[str, str]) -> None:
    size = (Path(folders[DATA_VARIABLE]) / "large" / "packed" / "train-images.npy").stat().st_size
    shutil.rmtree(folders[CHECKPOINTS_VARIABLE], ignore_errors=True)
    peak, _ = train(1e9, folders, most=size)
    print(f"copied: {peak / 1e6:,.0f} MB, then killed")
    assert peak > size
