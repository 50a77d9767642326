"""Signals, verdicts and their rates, against brute force and closed forms."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from vae import open_run
from vae.__main__ import main
from vae.evaluate import load_run_data
from vae.judging import find_reference, load_reference, make_reference, report_verdicts
from vae.likelihood import Gaussian
from vae.match import find_match
from vae.model import build_model
from vae.probes import PROBES
from vae.runs import Run, RunError
from vae.signals import SAMPLES, SIGNALS, Measured, Neighbourhood, SignalError, measure
from vae.verdict import UNLIKE, UNUSUAL, Reference, rate, rate_error

NAMES = [signal.name for signal in SIGNALS]
AROUND = Neighbourhood(np.arange(3), np.zeros((3, 2), np.float32), np.arange(2))


def reference_of(validation: np.ndarray) -> Reference:
    return Reference(AROUND, validation.astype(np.float32))


def correlated(count: int, seed: int) -> np.ndarray:
    """Signals that go together, as those of images do."""
    random = np.random.default_rng(seed)
    return (random.normal(size=(count, len(SIGNALS))) + 2 * random.normal(size=(count, 1))).astype(np.float32)


def measured(run: Run, images: np.ndarray | None = None) -> tuple[Measured, Reference]:
    model, reference = run.load_model(), load_reference(run)
    return measure(model, load_run_data(run, "test").images if images is None else images, reference.around), reference


# --- the statistics ------------------------------------------------------------------------------------------------


def test_p_values_against_counting_by_hand() -> None:
    validation, new = correlated(60, 1), correlated(25, 2) * 1.5
    new[0] = validation[7]  # ties
    reference = reference_of(validation)

    def counted(value: np.ndarray, own: int) -> list[int]:
        counts = []
        for column, signal in enumerate(SIGNALS):
            above = sum(other >= value[column] for other in validation[:, column]) + own
            below = sum(other <= value[column] for other in validation[:, column]) + own
            counts.append(2 * min(above, below) if signal.two_sided else above)
        return counts

    least = [min(counted(row, 0)) for row in validation]
    for value, own, p in zip(new, reference.own_p(new), reference.p(new), strict=True):
        counts = counted(value, 1)
        np.testing.assert_allclose(own, np.minimum(1, np.array(counts) / 61))
        assert p == pytest.approx((1 + sum(one <= min(counts) for one in least)) / 61)
    below = (validation < new[0]).mean(axis=0) + (validation == new[0]).mean(axis=0) / 2
    np.testing.assert_allclose(reference.percentiles(new)[0], 100 * below)


@pytest.mark.parametrize("nominal", [0.05, 0.2])
def test_the_false_alarm_rate_is_the_nominal_one_and_not_bonferronis(nominal: float) -> None:
    rates = [(reference_of(correlated(400, seed)).p(correlated(400, 1000 + seed)) <= nominal).mean() for seed in range(100)]
    error = np.std(rates) / np.sqrt(len(rates))
    assert nominal - 0.02 < np.mean(rates) < nominal + 3 * error
    own = reference_of(correlated(400, 1)).own_p(correlated(400, 2)).min(axis=1)
    assert (own <= nominal).mean() > 1.3 * nominal  # without a correction


def test_too_easy_is_odd_where_it_matters() -> None:
    reference, middle = reference_of(correlated(4000, 3)), np.zeros((1, len(SIGNALS)), np.float32)
    for column, signal in enumerate(SIGNALS):
        low, high = middle.copy(), middle.copy()
        low[0, column], high[0, column] = -100, 100
        assert reference.flags(high)[0] == 2
        assert reference.flags(low)[0] == (2 if signal.two_sided else 0)


def test_the_sentence_names_its_signal_and_tells_of_disagreement() -> None:
    reference = reference_of(correlated(4000, 3))
    value = np.zeros(len(SIGNALS), np.float32)
    assert reference.judge(value).sentence.startswith("Like the training data: no signal is out of the ordinary (p = ")
    value[NAMES.index("squared_error")] = 50
    verdict = reference.judge(value)
    assert verdict.level == "unlike"
    assert verdict.sentence.startswith(
        "Unlike anything it was trained on: its squared error (50 [0, 1]² per pixel) is higher than that of any validation"
    )
    assert "The signals disagree: −ELBO, reconstruction, KL," in verdict.sentence
    assert "distance alone would not have told." in verdict.sentence
    every = reference.judge(np.full(len(SIGNALS), 50, np.float32))
    assert every.sentence.endswith("All signals agree.")
    value[:] = 0
    value[NAMES.index("kl")] = np.quantile(reference.validation[:, NAMES.index("kl")], 0.98)
    alone = reference.judge(value)
    assert alone.level == "like"
    assert alone.sentence.endswith("By itself, KL would have raised a false alarm.")
    few = reference_of(correlated(5, 1)).judge(np.full(len(SIGNALS), 50, np.float32))
    assert (few.level, few.words) == ("none", "no verdict")
    assert few.sentence.startswith("No verdict: 5 validation images are too few to tell what is unusual.")
    some = reference_of(correlated(500, 1)).judge(np.full(len(SIGNALS), 50, np.float32))
    assert some.level == "unusual"
    assert some.sentence.endswith("More than that can't be told from 500 validation images.")


def test_the_error_of_a_rate_is_that_of_both_counts() -> None:
    assert rate_error(0.05, 10_000, 5_000) == pytest.approx(np.sqrt(0.05 * 0.95 / 10_000 + 0.05 * 0.95 / 5_000))


# --- the signals ---------------------------------------------------------------------------------------------------


def test_signals_by_hand(tiny_run: Run) -> None:
    found, reference = measured(tiny_run)
    images, model = load_run_data(tiny_run, "test").images, tiny_run.load_model()
    x = torch.tensor(images).float() / 255
    q = model.encode(x)
    from vae.device import generator_for

    noise = torch.randn(SAMPLES, 1, 3, generator=generator_for(0, "verdict"))
    decoded = [torch.sigmoid(model.decode(q.mean + torch.exp(q.logvar / 2) * eps)) for eps in noise]
    log_p = torch.stack([(x * p.log() + (1 - x) * (1 - p).log()).sum(dim=(1, 2, 3)) for p in decoded]).mean(dim=0)
    standard = torch.distributions.Normal(0, 1)
    kl = torch.distributions.kl_divergence(torch.distributions.Normal(q.mean, torch.exp(q.logvar / 2)), standard).sum(dim=1)
    picture = torch.stack(decoded).mean(dim=0)
    error = ((x - picture) ** 2).mean(dim=(1, 2, 3))
    used = reference.around.dimensions
    again = (((model.encode(picture).mean - q.mean) ** 2) / q.logvar.exp())[:, used].mean(dim=1)
    training = model.encode(torch.tensor(load_run_data(tiny_run, "train").images).float() / 255).mean[:, used]
    near = torch.cdist(q.mean[:, used], training).sort(dim=1).values[:, :8].mean(dim=1)
    expected = [kl - log_p, -log_p, kl, error, error / x.var(dim=(1, 2, 3), unbiased=False), again, near]
    np.testing.assert_allclose(found.values, torch.stack(expected, dim=1).numpy(), rtol=5e-3, atol=1e-4)
    np.testing.assert_allclose(found.reconstruction, picture.numpy(), atol=1e-5)


def test_an_images_signals_do_not_depend_on_its_company(tiny_run: Run) -> None:
    together, reference = measured(tiny_run)
    images, model = load_run_data(tiny_run, "test").images, tiny_run.load_model()
    for row in (0, 5, 23):
        alone = measure(model, images[row : row + 1], reference.around)
        np.testing.assert_allclose(alone.values[0], together.values[row], rtol=1e-4)


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous-bernoulli", "gaussian"])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_even_pictures_have_finite_signals(tiny_run: Run, likelihood: str, level: int) -> None:
    model = build_model(dataclasses.replace(tiny_run.config.model, likelihood=likelihood, channels=3), 0).eval()  # type: ignore[arg-type]
    around = Neighbourhood(np.arange(9), np.zeros((9, 3), np.float32), np.arange(3))
    found = measure(model, np.full((1, 3, 8, 8), level, np.uint8), around)
    assert np.isfinite(found.values).all()
    assert found.reconstruction.shape == (1, 3, 8, 8)


def test_a_model_without_finite_answers_is_told(tiny_run: Run) -> None:
    model = tiny_run.load_model()
    for value in model.decoder.parameters():
        value.fill_(torch.nan)
    with pytest.raises(SignalError, match="isn't finite, so there is nothing to judge"):
        measure(model, load_run_data(tiny_run, "test").images[:1], load_reference(tiny_run).around)


# --- the reference -------------------------------------------------------------------------------------------------


def test_training_leaves_a_reference_that_can_be_made_again(tiny_run: Run) -> None:
    kept = load_reference(tiny_run)
    made = make_reference(tiny_run, tiny_run.load_model())
    np.testing.assert_allclose(made.validation, kept.validation, rtol=1e-5)
    assert np.array_equal(made.around.means, load_reference(tiny_run).around.means)
    assert np.array_equal(kept.around.rows, np.arange(55))
    assert len(kept) == 5


def test_a_reference_of_other_weights_or_damage_is_made_anew(tiny_run: Run) -> None:
    model = tiny_run.load_model()
    file = tiny_run.path / "reference.npz"
    whole = file.read_bytes()
    file.write_bytes(whole[:200])
    with pytest.raises(RunError, match=r"reference\.npz: expected a whole \.npz file"):
        load_reference(tiny_run)
    assert len(find_reference(tiny_run, model)) == 5
    assert len(load_reference(tiny_run)) == 5
    arrays = tiny_run.load_reference()
    tiny_run.save_reference(arrays | {"dimensions": np.array([99])})
    with pytest.raises(RunError, match="expected what verdicts are taken against"):
        load_reference(tiny_run)
    file.write_bytes(whole)
    for value in model.parameters():
        value.mul_(1.5)
    tiny_run.save_weights(model)
    with pytest.raises(RunError, match="made from other weights or data"):
        load_reference(tiny_run)
    find_reference(tiny_run, model)
    assert len(load_reference(tiny_run)) == 5


def test_of_large_splits_a_part_is_drawn(tiny_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vae.judging.MOST_TRAINING", 20)
    monkeypatch.setattr("vae.judging.MOST_JUDGED", 3)
    reference = make_reference(tiny_run, tiny_run.load_model())
    assert len(reference) == 3
    assert len(set(reference.around.rows)) == 20
    nearest, distances = reference.around.nearest(reference.around.means[:1] * 0)
    assert set(nearest[0]) <= set(reference.around.rows)
    assert np.all(np.diff(distances[0]) >= 0)


@pytest.mark.long
def test_the_shipped_runs_false_alarms_and_what_it_flags() -> None:
    """All test images: the rates are within two of their standard errors of the nominal ones."""
    run = open_run("fashion-mnist")
    report = report_verdicts(run, run.load_model())
    assert report.validation_images == 5000
    for found, nominal in ((report.test.unusual, UNUSUAL), (report.test.unlike, UNLIKE)):
        assert abs(found - nominal) < 2 * rate_error(nominal, 10_000, 5_000)
    flagged = {other.name: other.unusual for other in report.others}
    assert flagged["noise"] == flagged["inverted test images"] == 1
    assert flagged["photographs"] > 0.98
    assert flagged["digits"] > 0.9
    assert "test images                10,000" in report.table()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", list(PROBES))
def test_probes_take_the_shape_of_the_test_images(name: str, channels: int) -> None:
    test = np.random.default_rng(0).integers(0, 256, (7, channels, 12, 16)).astype(np.uint8)
    images = PROBES[name](test)
    assert images.shape[1:] == (channels, 12, 16)
    assert images.std() > 10
    assert np.array_equal(images, PROBES[name](test))


# --- match ---------------------------------------------------------------------------------------------------------


def linear_decoder() -> tuple[nn.Module, torch.Tensor]:
    layer = nn.Linear(2, 16)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(16, 2, generator=generator) * 0.15)
        layer.bias.fill_(0.5)
    return nn.Sequential(layer, nn.Unflatten(1, (1, 4, 4))).requires_grad_(False), layer.weight


def test_a_match_of_a_linear_decoder_is_the_least_squares_one() -> None:
    decode, weight = linear_decoder()
    image = np.random.default_rng(1).integers(60, 190, (1, 4, 4)).astype(np.uint8)
    starts = np.array([[3.0, -3.0], [0.0, 0.0]], np.float32)
    match = find_match(decode, Gaussian().requires_grad_(False), image, starts, np.full(2, 0.5, np.float32), np.arange(2))
    target = image.ravel() / 255 - 0.5
    solution, residual, *_ = np.linalg.lstsq(weight.numpy().astype(np.float64), target, rcond=None)
    np.testing.assert_allclose(match.z, solution, atol=1e-2)
    assert match.squared_error == pytest.approx(residual[0] / 16, rel=1e-3)
    assert match.distance == pytest.approx(np.sqrt(np.mean(((match.z - starts[0]) / 0.5) ** 2)), rel=1e-5)
    assert match.log_prob > match.encoder_log_prob


def test_who_fails() -> None:
    decode, _ = linear_decoder()
    starts, std = np.array([[2.0, 2.0]], np.float32), np.ones(2, np.float32)
    drawn = np.rint(np.asarray(decode(torch.tensor([[-1.0, 0.5]]))[0]) * 255).clip(0, 255).astype(np.uint8)
    foreign = np.random.default_rng(1).choice([0, 255], (1, 4, 4)).astype(np.uint8)
    likelihood = Gaussian().requires_grad_(False)
    match = find_match(decode, likelihood, drawn, starts, std, np.arange(2))
    assert match.fault(1e-4) == "encoder"
    assert match.fault(10.0) == "neither"
    assert find_match(decode, likelihood, foreign, starts, std, np.arange(2)).fault(1e-4) == "decoder"


# --- the command ---------------------------------------------------------------------------------------------------


def test_the_command_tells_rates_and_verdicts(tiny_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verdict", "tiny-run"]) == 0
    out = capsys.readouterr().out
    assert "thresholds set on 5 validation images" in out
    assert "nominal false-alarm rate" in out
    Image.new("L", (20, 20), 30).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    assert main(["verdict", "tiny-run", str(tmp_path / "a.png")]) == 0
    assert "No verdict: 5 validation images are too few" in capsys.readouterr().out
    assert main(["verdict", "tiny-run", str(tmp_path / "b.png")]) == 2
    assert "Expected a PNG, JPEG, WebP, BMP or GIF picture" in capsys.readouterr().err
    assert json.loads((tiny_run.path / "status.json").read_text())["state"] == "finished"
    assert rate("x", load_reference(tiny_run), load_reference(tiny_run).validation).images == 5
