"""The page Inference without a browser: its numbers against what they must be, and the refinement in its slices."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest
from torch.nn import functional as F

from dashboard.components.refinement import BUDGET_BYTES, Climb
from dashboard.inference_page import refinement as refining_page
from dashboard.inference_page.figures import REPEATS, against_samples, elbo_sum
from dashboard.inference_page.refinement import Refinement
from dashboard.inference_page.shared import Question, count_draws, number, with_error
from dashboard.resources import LoadedRun, load_run
from dashboard.state import Visit
from vae import Draws, Estimate, draw_posterior, fit, fit_svi, generator_for, mean_of, open_run, refine_image
from vae.config import ModelConfig, TrainConfig
from vae.svi_training import SviConfig

OpenApp = Callable[..., AppTest]
RUN, ROW = "fashion-mnist", 1


def said(app: AppTest) -> str:
    assert not app.exception
    groups = (app.markdown, app.caption, app.info, app.error, app.warning)
    return "\n".join(element.value for group in groups for element in group)


def click(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label.startswith(label)).click().run(timeout=300)
    assert not app.exception
    return app


def expected_draws(seed: int = 0) -> Draws:
    loaded = load_run(RUN)
    subject = loaded.subject(ROW)
    noise = generator_for(seed, "view", 1)
    return draw_posterior(loaded.model, subject.pixels, subject.mean[None], subject.logvar[None], noise, 2048)


@pytest.fixture
def in_few_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole ascent in one slice: a page without a browser runs as a whole for each."""
    monkeypatch.setattr(refining_page, "SLICE_SECONDS", 3600.0)


def test_the_elbo_is_shown_as_a_sum_with_its_standard_error(open_app: OpenApp) -> None:
    text = said(open_app("inference", row=str(ROW)))
    draws, encodings = expected_draws(), open_run(RUN).load_encodings()
    elbo, reconstruction = draws.elbo[:, 0], draws.reconstruction[:, 0]
    assert "#### Test image 1, Pullover" in text
    shown = re.search(
        r"ELBO \*\*−([\d.]+)\*\* ± ([\d.]+) nats = reconstruction \*\*−([\d.]+)\*\* ± [\d.]+ − KL \*\*([\d.]+)\*\*", text
    )
    assert shown
    value, error, first, kl = map(float, shown.groups())
    assert (value, first) == (pytest.approx(-elbo.mean(), abs=0.006), pytest.approx(-reconstruction.mean(), abs=0.006))
    assert error == pytest.approx(elbo.std(ddof=1) / np.sqrt(2048), abs=0.006)
    assert kl == pytest.approx(encodings.kl[ROW], abs=0.01)
    assert value == pytest.approx(first + kl, abs=0.011)
    assert abs(-value - encodings.elbo[ROW]) < 4 * elbo.std(), "the one-sample figure of the run is a draw of the same"
    assert "higher is better. ± is the standard error of the mean of 2,048 draws of z; the KL is exact." in text
    assert "a cross-entropy" in text


def test_every_panel_has_two_sentences_and_its_equation(open_app: OpenApp) -> None:
    app = open_app("inference", row=str(ROW))
    heads = [found for element in app.markdown if (found := re.fullmatch(r"\*\*([^*]+)\*\*  \n(.+)", element.value))]
    assert [head[1] for head in heads] == [
        *("The ELBO is a sum", "It is estimated from draws of z", "The KL, exactly and from draws", "What q leaves open"),
        "Refinement: what does the encoder cost?",
    ]
    for head in heads:
        assert len(re.findall(r"[\w)][.]( |$)", head[2])) == 2, head[2]
    assert len(app.latex) >= len(heads)


def test_the_kl_is_there_twice_and_new_draws_change_one_of_them(open_app: OpenApp) -> None:
    pattern = r"KL \*\*([\d.]+)\*\* nats in closed form; \*\*([\d.]+)\*\* ± ([\d.]+) from 2,048 draws"
    app = open_app("inference", row=str(ROW))
    first = re.search(pattern, said(app))
    assert first
    estimate = mean_of(expected_draws().log_ratio[:, 0])
    assert float(first[2]) == pytest.approx(estimate.value, abs=0.006)
    assert float(first[3]) == pytest.approx(estimate.standard_error, abs=0.006)
    assert abs(float(first[1]) - float(first[2])) < 4 * float(first[3]) + 0.01
    second = re.search(pattern, said(click(app, "New draws")))
    assert second
    assert second[1] == first[1]
    assert float(second[2]) == pytest.approx(mean_of(expected_draws(1).log_ratio[:, 0]).value, abs=0.006)


def test_the_posterior_samples_have_the_spread_that_is_stated(open_app: OpenApp) -> None:
    app = open_app("inference", row=str(ROW))
    for count in (16, 32):
        if count != 16:
            control = next(group for group in app.segmented_control if group.label.startswith("Samples"))
            control.set_value(count).run()
        pictures = load_run(RUN).decode(expected_draws().z[:count, 0])
        deviation = np.sqrt(pictures.astype(np.float64).var(axis=0, ddof=1).mean())
        assert f"Standard deviation **{deviation:.4f}** ± " in said(app)
        assert f"root mean square over pixels, {count} samples" in said(app)


def gap_by_hand() -> np.ndarray:
    """The gains of the refined q over the encoder's, each draw's own, by plain torch: ``(draws, 2)``."""
    loaded = load_run(RUN)
    subject = loaded.subject(ROW)
    *_, last = refine_image(loaded.model, subject.pixels, subject.mean, subject.logvar, 0)
    mean = torch.cat([torch.tensor(subject.mean[None]), last.posterior.mean])
    logvar = torch.cat([torch.tensor(subject.logvar[None]), last.posterior.logvar])
    noise = torch.randn(1000, 1, mean.shape[1], generator=generator_for(0, "evaluation", 2**21))
    x = torch.tensor(subject.pixels[None]) / 255
    values = []
    with torch.no_grad():
        for q_mean, q_logvar in zip(mean, logvar, strict=True):
            logits = torch.cat([loaded.model.decode(z) for z in (q_mean + (q_logvar / 2).exp() * noise[:, 0]).split(100)])
            entropy = F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(dim=(1, 2, 3))
            q = torch.distributions.Normal(q_mean.double(), (q_logvar.double() / 2).exp())
            prior = torch.distributions.Normal(torch.zeros_like(q.mean), torch.ones_like(q.mean))
            values.append(-entropy.double() - torch.distributions.kl_divergence(q, prior).sum())
    first, *others = values
    return np.stack([(other - first).numpy() for other in others], axis=1)


def test_the_gap_in_the_caption_is_what_fresh_draws_say(open_app: OpenApp, in_few_slices: None) -> None:
    text = said(click(open_app("inference", row=str(ROW)), "Refine"))
    gains = gap_by_hand()
    values, errors = gains.mean(axis=0), gains.std(axis=0, ddof=1) / np.sqrt(len(gains))
    gap = re.search(
        r"\*\*Amortization gap\*\*, at least \*\*(−?[\d.]+)\*\* ± ([\d.]+) nats: .* \(paired standard error, 1,000 fresh", text
    )
    prior = re.search(r"From the prior, 100 steps end ([\d.]+) ± ([\d.]+) nats (above|below) the encoder's answer", text)
    assert gap
    assert prior
    assert float(gap[1].replace("−", "-")) == pytest.approx(values[0], abs=0.011)
    assert float(gap[2]) == pytest.approx(errors[0], abs=0.006)
    assert values[0] > 5 * errors[0], "of this image the encoder's answer can be bettered"
    assert float(prior[1]) == pytest.approx(abs(values[1]), abs=0.02)
    assert prior[3] == ("above" if values[1] >= 0 else "below")


def loaded_question(row: int = ROW) -> tuple[LoadedRun, Question]:
    loaded = load_run(RUN)
    return loaded, Question(loaded.subject(row), 0)


def test_a_refinement_grows_slice_by_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refining_page, "SLICE_SECONDS", 0.0)
    monkeypatch.setattr(refining_page, "REFINEMENT_STEPS", 5)
    loaded, question = loaded_question()
    subject = question.subject
    current = Refinement(question, refine_image(loaded.model, subject.pixels, subject.mean, subject.logvar, 0, steps=5), 1)
    seen = []
    while not current.is_done:
        current.advance(loaded)
        seen.append(len(current.points))
        if current.climb is None:
            now = current.seen(loaded, range(len(current.points) - 1, len(current.points)))
            assert now.pictured == (now.steps[-1],)
            assert now.elbo.shape == (2, len(current.points))
    assert seen == [1, 2, 3, 4, 4]  # the last slice is the figure
    assert current.climb is not None
    assert current.climb.steps == current.climb.pictured == (0, 2, 4, 5)
    np.testing.assert_array_equal(current.climb.original, subject.pixels)
    expected = np.rint(255 * loaded.decode(subject.mean[None])[0])
    assert np.abs(current.climb.pictures[0, 0] - expected).max() <= 1
    assert current.climb.pictures.shape == (4, 2, 1, 28, 28)
    assert (current.climb.elbo[:, -1] > current.climb.elbo[:, 0] - 1).all()


def test_a_refinement_belongs_to_its_image_and_its_draws(open_app: OpenApp, in_few_slices: None) -> None:
    app = click(open_app("inference", row=str(ROW)), "Refine")
    assert not any(button.label.startswith("Refine") for button in app.button)
    assert not any(button.label == "Stop" for button in app.button)
    app.text_input(key="search").set_value("2").run()
    assert any(button.label.startswith("Refine") for button in app.button)
    app.text_input(key="search").set_value(str(ROW)).run()
    assert "Amortization gap**, at least" in said(app), "what was found of an image is kept while it is the last one refined"
    click(app, "New draws")
    assert any(button.label.startswith("Refine") for button in app.button)


def test_what_breaks_down_is_told(open_app: OpenApp, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> object:
        raise FloatingPointError("the ELBO is no longer finite after 3 steps of refinement: lower the rate")
        yield

    monkeypatch.setattr(refining_page, "refine_image", broken)
    app = click(open_app("inference", row=str(ROW)), "Refine")
    assert "The refinement was given up: the ELBO is no longer finite after 3 steps" in said(app)


def test_an_image_of_ones_own_is_looked_at_too(open_app: OpenApp, in_few_slices: None) -> None:
    app = open_app("inference")
    visit: Visit = app.session_state["visit"]
    pixels = load_run(RUN).data.images[7][:, :, ::-1].copy()
    visit.show(load_run(RUN).subject_from_outside(pixels))
    app.run()
    assert "#### Your image" in said(app)
    assert "Amortization gap**, at least" in said(click(app, "Refine"))


def test_it_is_found_as_on_explore_and_the_link_follows(open_app: OpenApp) -> None:
    app = open_app("inference")
    app.text_input(key="search").set_value("42").run()
    assert "#### Test image 42" in said(app)
    assert app.query_params["row"] in ("42", ["42"])


@pytest.mark.parametrize("kind", ["gaussian", "svi"])
def test_runs_of_every_kind_work(kind: str, workspace: object, open_app: OpenApp, in_few_slices: None) -> None:
    size = {"channels": 1, "height": 8, "width": 8, "latent": 3, "widths": (4,), "blocks": 1, "hidden": 8}
    if kind == "gaussian":
        model = ModelConfig(**size, likelihood="gaussian")  # type: ignore[arg-type]
        train = TrainConfig(epochs=1, batch_size=16, precision="fp32")
        fit("other", "tiny", model, train, "fast", torch.device("cpu"))
    else:
        fit_svi("other", "tiny", ModelConfig(**size), SviConfig(epochs=1, svi_steps=2), 20, torch.device("cpu"))  # type: ignore[arg-type]
    app = open_app("inference", run="other")
    assert ("cross-entropy" in said(app)) == (kind == "svi")
    assert "from 2,048 draws" in said(app)
    assert "Amortization gap**, at least" in said(click(app, "Refine"))


# --- its parts -----------------------------------------------------------------------------------------------------


def test_the_bars_lead_from_the_reconstruction_term_to_the_elbo() -> None:
    draws, subject = expected_draws(), load_run(RUN).subject(ROW)
    (bars,) = elbo_sum(draws, subject.mean, subject.logvar).data
    base = np.asarray(bars.base, dtype=np.float64)
    tops = base + np.asarray(bars.y, dtype=np.float64)
    assert tops[0] == pytest.approx(draws.reconstruction.mean())
    np.testing.assert_allclose(tops[1:], base[:-1])
    assert base[-1] == pytest.approx(draws.elbo.mean())
    assert sum(bars.y) == pytest.approx(draws.kl[0])
    assert bars.x[-1] == "48 others"
    assert list(bars.y[:-1]) == sorted(bars.y[:-1], reverse=True)


def test_estimates_scatter_as_their_band_says() -> None:
    values = np.random.default_rng(0).normal(5, 2, 4096)
    upper, lower, dots, line = against_samples("x", values, 5.0).data
    sizes = np.asarray(upper.x)
    assert sizes.tolist() == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    np.testing.assert_allclose((np.asarray(upper.y) - np.asarray(lower.y)) / 2, values.std(ddof=1) / np.sqrt(sizes))
    assert len(dots.y) == REPEATS * len(sizes)
    assert list(line.y) == [5.0, 5.0]
    whole = np.asarray(dots.y).reshape(-1, REPEATS)
    np.testing.assert_allclose(whole[-1].mean(), values.mean())  # the largest S uses every draw once
    inside = np.abs(np.asarray(dots.y) - values.mean()) < np.repeat(values.std() / np.sqrt(sizes), REPEATS)
    assert 0.5 < inside.mean() < 0.85


def test_large_images_get_fewer_draws_and_smaller_pictures() -> None:
    assert count_draws((1, 28, 28)) == 2048
    assert count_draws((1, 64, 64)) == 256
    assert count_draws((3, 128, 128)) == 256
    pictures = np.zeros((101, 2, 3, 128, 128), np.uint8)
    climb = Climb(1, tuple(range(101)), 100, 4, np.zeros((2, 101), np.float32), tuple(range(101)), pictures, pictures[0, 0])
    assert climb.block > 1
    assert pictures.size / climb.block**2 <= BUDGET_BYTES


def test_numbers_have_a_minus_and_no_minus_zero() -> None:
    assert number(-1234.5) == "−1,234.50"
    assert number(-0.001) == "0.00"
    assert with_error(Estimate(-3.14159, 0.0251, 10)) == "**−3.14** ± 0.03"


def test_questions_tell_images_and_seeds_apart() -> None:
    loaded, question = loaded_question()
    assert question.key == Question(loaded.subject(ROW), 0).key
    assert len({question.key, Question(loaded.subject(ROW), 1).key, Question(loaded.subject(2), 0).key}) == 3
