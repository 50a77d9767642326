"""Every page without a browser: what it shows, what its widgets do, and what it says on a bad day."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from dashboard.state import Visit
from vae import load_dataset, open_run
from vae.runs import CHECKPOINTS_VARIABLE

OpenApp = Callable[..., AppTest]
RUN = "fashion-mnist"


def visit_of(app: AppTest) -> Visit:
    visit: Visit = app.session_state["visit"]
    return visit


def said(app: AppTest) -> str:
    """All sentences on the page."""
    groups = (app.markdown, app.caption, app.info, app.error, app.warning, app.subheader)
    return "\n".join(element.value for group in groups for element in group)


def query(app: AppTest) -> dict[str, str]:
    """The parameters in the address bar."""
    return {name: value if isinstance(value, str) else value[0] for name, value in app.query_params.items()}


def widget(group: object, label: str) -> object:
    return next(element for element in group if element.label.startswith(label))  # type: ignore[attr-defined]


def picture(width: int = 60, height: int = 90) -> bytes:
    """A dark garment-like shape on white, as PNG."""
    pixels = np.full((height, width), 245, np.uint8)
    pixels[20:70, 15:45] = 40
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


# --- Explore -------------------------------------------------------------------------------------------------------


def test_explore_shows_the_map_and_the_numbers_of_the_first_image(open_app: OpenApp) -> None:
    app = open_app()
    assert not app.exception
    encodings = open_run(RUN).load_encodings()
    text = said(app)
    assert "**10,000 of 10,000 test images**, UMAP of their posterior means (16 active dimensions)" in text
    reconstruction, kl = -encodings.reconstruction[0], encodings.kl[0]
    assert f"−ELBO **{reconstruction + kl:.1f}** = reconstruction {reconstruction:.1f} + KL {kl:.1f}" in text
    assert "the posterior mean of test image 0, Ankle boot" in text


def test_the_sidebar_states_the_run_with_its_sign_unit_and_count(open_app: OpenApp) -> None:
    report = open_run(RUN).reports()["samples=1,seed=0"]
    expected = f"test −ELBO {-report['elbo']:.1f} nats per image (mean, one sample of z; lower is better)"
    assert expected in said(open_app())


def test_sliders_stand_in_the_order_of_kl_and_show_the_posterior_mean(open_app: OpenApp) -> None:
    app, encodings = open_app(), open_run(RUN).load_encodings()
    dimensions = [int(slider.label.split()[1]) for slider in app.slider]
    assert dimensions == encodings.active_dimensions[:8].tolist()
    for slider, dimension in zip(app.slider, dimensions, strict=True):
        assert slider.value == pytest.approx(encodings.mean[0, dimension], abs=0.0051)
        std, mean = encodings.aggregate_std[dimension], encodings.aggregate_mean[dimension]
        assert slider.min <= mean - 2 * std
        assert slider.max >= mean + 2 * std


def test_a_slider_moves_one_dimension_and_reset_returns(open_app: OpenApp) -> None:
    app = open_app()
    before = visit_of(app).point(_loaded()).copy()
    dimension = int(app.slider[0].label.split()[1])
    app.slider[0].set_value(1.25).run()
    after = visit_of(app).z
    assert after is not None
    assert after[dimension] == pytest.approx(1.25)
    assert np.array_equal(np.delete(after, dimension), np.delete(before, dimension))
    assert "a point you moved to" in said(app)
    assert query(app)["z"] == f"{dimension}:1.25"
    widget(app.button, "Reset").click().run()  # type: ignore[attr-defined]
    assert visit_of(app).z is None
    assert "z" not in query(app)
    assert app.slider[0].value == pytest.approx(before[dimension], abs=0.0051)


def test_reset_after_a_prior_sample_returns_to_that_sample(open_app: OpenApp) -> None:
    app = open_app()
    widget(app.button, "Prior sample").click().run()  # type: ignore[attr-defined]
    sample = visit_of(app).z
    assert sample is not None
    app.slider[1].set_value(-0.5).run()
    widget(app.button, "Reset").click().run()  # type: ignore[attr-defined]
    assert np.array_equal(visit_of(app).z, sample)
    assert "a sample of the prior N(0, I)" in said(app)


def test_each_prior_sample_is_another_and_gaussian(open_app: OpenApp) -> None:
    app, drawn = open_app(), []
    for _ in range(3):
        widget(app.button, "Prior sample").click().run()  # type: ignore[attr-defined]
        drawn.append(visit_of(app).z)
    values = np.concatenate(drawn)
    assert len({z.tobytes() for z in drawn}) == 3
    assert abs(values.mean()) < 0.3
    assert 0.75 < values.std() < 1.25


def test_the_switch_says_whether_the_mean_or_a_sample_is_decoded(open_app: OpenApp) -> None:
    app = open_app()
    switch = app.segmented_control(key="reconstruct-from")
    assert switch.value == "mean"
    switch.set_value("posterior").run()
    z, loaded = visit_of(app).z, _loaded()
    assert z is not None
    assert "a sample of the posterior of test image 0, Ankle boot" in said(app)
    standardised = (z - loaded.encodings.mean[0]) / np.exp(loaded.encodings.logvar[0] / 2)
    assert 0.6 < standardised.std() < 1.4
    app.segmented_control(key="reconstruct-from").set_value("mean").run()
    assert visit_of(app).z is None


def test_choosing_a_row_and_a_random_image(open_app: OpenApp) -> None:
    app = open_app()
    app.number_input[0].set_value(9999).run()
    assert visit_of(app).row == 9999
    assert "test image 9999, Sandal" in said(app)
    assert query(app)["row"] == "9999"
    widget(app.button, "Random image").click().run()  # type: ignore[attr-defined]
    assert 0 <= visit_of(app).row < 10_000
    assert app.number_input[0].value == visit_of(app).row


def test_inactive_dimensions_are_folded_and_can_be_opened(open_app: OpenApp) -> None:
    app = open_app()
    widget(app.toggle, "8 more active").set_value(True).run()  # type: ignore[attr-defined]
    assert len(app.slider) == 16
    widget(app.toggle, "48 inactive").set_value(True).run()  # type: ignore[attr-defined]
    assert len(app.slider) == 64


# --- links ---------------------------------------------------------------------------------------------------------


def test_a_link_opens_the_same_view(open_app: OpenApp) -> None:
    first = open_app()
    first.number_input[0].set_value(42).run()
    first.slider[0].set_value(-1.5).run()
    second = open_app(**query(first))
    assert visit_of(second).row == 42
    assert second.slider[0].value == pytest.approx(-1.5)
    assert np.allclose(visit_of(second).point(_loaded()), visit_of(first).point(_loaded()), atol=0.006)
    assert not second.info


@pytest.mark.parametrize(
    ("link", "note"),
    [
        ({"row": "10000"}, "rows go from 0 to 9,999"),
        ({"row": "-1"}, "rows go from 0 to 9,999"),
        ({"row": "1e3"}, "rows go from 0 to 9,999"),
        ({"row": "³"}, "rows go from 0 to 9,999"),
        ({"row": "9" * 5000}, "rows go from 0 to 9,999"),
        ({"row": "3", "z": "64:1"}, "latent point that doesn't fit"),
        ({"row": "3", "z": "1:nan"}, "latent point that doesn't fit"),
        ({"row": "3", "z": "1:inf"}, "latent point that doesn't fit"),
        ({"row": "3", "z": "1:1e9"}, "latent point that doesn't fit"),
        ({"row": "3", "z": "<script>"}, "latent point that doesn't fit"),
        ({"row": "3", "z": ",".join(["1:1"] * 65)}, "latent point that doesn't fit"),
        ({"row": "3", "w": "00000000"}, "other weights"),
        ({"run": "../../etc"}, "names a run that isn't here"),
        ({"run": "no-such-run", "row": "3"}, "names a run that isn't here"),
    ],
)
def test_what_makes_no_sense_in_a_link_is_dropped_with_a_note(open_app: OpenApp, link: dict[str, str], note: str) -> None:
    app = open_app(**link)
    assert not app.exception
    assert note in said(app)
    assert visit_of(app).z is None
    assert visit_of(app).run == RUN


# --- Reconstruct ---------------------------------------------------------------------------------------------------


def test_reconstruct_begins_with_a_sentence(open_app: OpenApp) -> None:
    app = open_app("reconstruct")
    assert not app.exception
    assert "No picture yet. One object on a plain background works best." in said(app)


def test_an_uploaded_picture_is_reconstructed_and_opens_in_explore(open_app: OpenApp) -> None:
    app = open_app("reconstruct")
    app.file_uploader[0].set_value(("shirt.png", picture(), "image/png")).run()
    assert not app.exception
    assert "What the model makes of it" in said(app)
    assert float(app.metric[0].value) > 0
    widget(app.button, "Open in Explore").click().run()  # type: ignore[attr-defined]
    assert not app.exception
    outside = visit_of(app).outside
    assert outside is not None
    assert outside.pixels.shape == (1, 28, 28)
    assert "the posterior mean of your image" in said(app)
    assert "your picture itself is not part of it" in said(app)


def test_the_steps_can_be_adjusted(open_app: OpenApp) -> None:
    app = open_app("reconstruct")
    app.file_uploader[0].set_value(("shirt.png", picture(), "image/png")).run()
    automatic = app.metric[0].value
    widget(app.selectbox, "Invert").set_value("no").run()  # type: ignore[attr-defined]
    inverted = app.metric[0].value
    widget(app.checkbox, "Mirror").check().run()  # type: ignore[attr-defined]
    assert not app.exception
    assert len({automatic, inverted}) == 2


def test_a_file_that_is_no_picture_gets_a_sentence(open_app: OpenApp) -> None:
    app = open_app("reconstruct")
    app.file_uploader[0].set_value(("a.png", b"not a png", "image/png")).run()
    assert not app.exception
    assert "Expected a PNG, JPEG, WebP, BMP or GIF picture, found text" in app.error[0].value


def test_a_random_test_image_is_reconstructed_from_mean_or_sample(open_app: OpenApp) -> None:
    app = open_app("reconstruct")
    app.segmented_control(key="source").set_value("test").run()
    before = app.session_state["test-row"]
    encodings = open_run(RUN).load_encodings()
    assert app.metric[0].value == f"{-encodings.elbo[before]:.1f}"
    app.segmented_control(key="reconstruct-as").set_value("sample").run()
    assert widget(app.button, "Another sample")
    widget(app.button, "Another image").click().run()  # type: ignore[attr-defined]
    assert not app.exception
    assert 0 <= app.session_state["test-row"] < 10_000


# --- other runs, and bad days --------------------------------------------------------------------------------------


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of runs of its own, with a copy of the shipped one."""
    shutil.copytree(open_run(RUN).path, tmp_path / RUN, ignore=shutil.ignore_patterns("state", "previews"))
    monkeypatch.setenv(CHECKPOINTS_VARIABLE, str(tmp_path))
    return tmp_path


def test_without_any_run_the_page_says_how_to_make_one(
    open_app: OpenApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CHECKPOINTS_VARIABLE, str(tmp_path))
    app = open_app()
    assert not app.exception
    assert "There is no run yet. Train one with `make train`" in said(app)


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("weights.safetensors", b"cut", "expected a whole safetensors file"),
        ("weights.safetensors", None, "has not finished its first epoch"),
        ("config.json", b"{}", "expected format 1, found None"),
        ("encodings.npz", b"PK\x03\x04", "expected a whole .npz file"),
    ],
)
def test_a_broken_run_is_named_and_the_others_stay_usable(
    open_app: OpenApp, checkpoints: Path, file: str, content: bytes | None, sentence: str
) -> None:
    shutil.copytree(checkpoints / RUN, checkpoints / "broken")
    if content is None:
        (checkpoints / "broken" / file).unlink()
    else:
        (checkpoints / "broken" / file).write_bytes(content)
    app = open_app(run="broken")
    assert not app.exception
    assert "Run broken can't be shown." in app.error[0].value
    assert sentence in app.error[0].value
    app.selectbox(key="chosen-run").set_value(RUN).run()
    assert not app.error
    assert "10,000 of 10,000 test images" in said(app)


def test_a_run_without_a_map_is_still_usable(open_app: OpenApp, checkpoints: Path) -> None:
    shutil.rmtree(checkpoints / RUN / "maps")
    app = open_app()
    assert not app.exception
    assert "This run has no map to show." in app.warning[0].value
    assert "python -m vae map fashion-mnist" in app.warning[0].value
    assert len(app.slider) == 8


def test_a_map_of_other_weights_is_not_shown(open_app: OpenApp, checkpoints: Path) -> None:
    config = json.loads((checkpoints / RUN / "config.json").read_text())
    run = open_run(RUN)
    from vae import build_model

    run.save_weights(build_model(run.config.model, 1))
    app = open_app()
    assert config["format"] == 1
    assert "made from other weights or test data" in app.error[0].value


def _loaded() -> object:
    from dashboard.resources import load_run

    return load_run(RUN)


def test_the_real_data_has_the_promised_splits() -> None:
    assert [len(load_dataset(RUN, split)) for split in ("train", "validation", "test")] == [55_000, 5_000, 10_000]  # type: ignore[arg-type]
