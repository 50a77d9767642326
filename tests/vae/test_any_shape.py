"""Nothing assumes 28 x 28, one channel, ten classes or labels: an unlabelled set of 3 x 32 x 32 goes through everything."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from PIL import Image
from streamlit.testing.v1 import AppTest

from vae import MapConfig, decode_images, encode_images, load_dataset, load_test_data, open_run
from vae.__main__ import main
from vae.data import DATA_VARIABLE
from vae.runs import CHECKPOINTS_VARIABLE

APP = Path(__file__).resolve().parents[2] / "dashboard" / "app.py"
# Three stages: 32 can be halved three times, 28 cannot.
TINY = ["--latent", "4", "--widths", "4", "6", "8", "--blocks", "0", "--hidden", "8"]
TINY += ["--epochs", "1", "--batch-size", "16", "--device", "cpu"]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_idx: Callable[[Path, np.ndarray], None]) -> Iterator[None]:
    """A run called ``photos`` of unlabelled colour images, the only one there is."""
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "data"))
    monkeypatch.setenv(CHECKPOINTS_VARIABLE, str(tmp_path / "checkpoints"))
    (tmp_path / "data" / "photos").mkdir(parents=True)
    (tmp_path / "checkpoints").mkdir()
    random = np.random.default_rng(0)
    for part, count in (("train", 48), ("test", 12)):
        colours = random.integers(0, 256, (count, 3, 1, 1))
        images = np.clip(colours + random.integers(-20, 20, (count, 3, 32, 32)), 0, 255).astype(np.uint8)
        write_idx(tmp_path / "data" / "photos" / f"{part}-images-idx4-ubyte.gz", images)
    assert main(["train", "--run", "photos", "--dataset", "photos", *TINY]) == 0
    yield
    st.cache_resource.clear()
    st.cache_data.clear()


def test_from_files_to_a_run_a_map_and_pictures(photos: None, capsys: pytest.CaptureFixture[str]) -> None:
    run = open_run("photos")
    data, encodings = load_test_data(run), run.load_encodings()
    assert data.labels is None
    assert run.config.model.image_shape == (3, 32, 32)
    assert encodings.mean.shape == (12, 4)
    assert decode_images(run.load_model(), encodings.mean).shape == (12, 3, 32, 32)
    assert encode_images(run.load_model(), load_dataset("photos", "train").images).mean.shape == (44, 4)
    assert main(["evaluate", "photos", "--samples", "2"]) == 0
    assert set(run.reports()) == {"samples=1,seed=0", "samples=2,seed=0"}
    pca, umap = MapConfig(method="pca"), MapConfig(neighbors=5)
    assert run.list_maps() == [pca]  # twelve images are too few for the default UMAP
    assert main(["map", "photos", "--neighbors", "5"]) == 0
    assert set(run.list_maps()) == {pca, umap}
    assert run.load_map(umap).coordinates.shape == (12, 2)


def test_the_dashboard_shows_it(photos: None) -> None:
    app = AppTest.from_file(str(APP), default_timeout=60).run()
    assert not app.exception
    visit = app.session_state["visit"]
    assert visit.colouring == "elbo"  # no labels
    assert any("of the posterior means of all 12 test images" in element.value for element in app.caption)
    assert visit.strips.frames.shape[2:] == (3, 32, 32)
    commit = {"generation": visit.generation, "sequence": 1, "action": "drag", "changes": [[0, 1.0]], "unfolded": []}
    app.session_state[f"sliders-{visit.instance}"] = {"commit": commit}
    app.run()
    assert not app.exception
    assert any("a point you moved to" in element.value for element in app.caption)


def test_an_upload_is_read_in_colour(photos: None) -> None:
    app = AppTest.from_file(str(APP), default_timeout=60).run()
    app.switch_page("views/reconstruct.py").run()
    buffer = io.BytesIO()
    Image.new("RGB", (50, 40), (200, 30, 60)).save(buffer, "PNG")
    app.file_uploader[0].set_value(("red.png", buffer.getvalue(), "image/png")).run()
    assert not app.exception
    assert any("The model reads colour images of 32 × 32 pixels" in element.value for element in app.markdown)
    assert len(app.metric) == 1
