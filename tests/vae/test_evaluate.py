"""Reports and encodings, computed again by other means."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from vae import DataError, Encodings, Run, encode_images, evaluate, load_dataset, load_test_data, open_run, pixel_entropy
from vae.data import DATA_VARIABLE
from vae.device import generator_for
from vae.evaluate import BATCH, report_on
from vae.runs import CHECKPOINTS_VARIABLE


def test_terms_are_those_of_a_recomputation_image_by_image(tiny_run: Run) -> None:
    model, data = tiny_run.load_model(), load_test_data(tiny_run)
    found = encode_images(model, data.images)
    eps = torch.randn(len(data), 3, generator=generator_for(0, "evaluation", 0))
    for row in range(len(data)):
        x = torch.tensor(data.images[row : row + 1] / 255.0, dtype=torch.float32)
        mean, logvar = model.encoder(x)
        z = mean + torch.exp(logvar).sqrt() * eps[row]
        p = torch.sigmoid(model.decode(z)).double()
        reconstruction = (x * torch.log(p) + (1 - x) * torch.log(1 - p)).sum()
        kl = 0.5 * (torch.exp(logvar) + mean**2 - 1 - logvar).sum()
        assert found.reconstruction[row] == pytest.approx(float(reconstruction), rel=1e-4)
        assert found.kl[row] == pytest.approx(float(kl), rel=1e-4)
        np.testing.assert_allclose(found.mean[row], mean[0], rtol=1e-4, atol=1e-5)


def test_a_report_is_the_mean_over_all_images(tiny_run: Run) -> None:
    report, encodings = evaluate(tiny_run), tiny_run.load_encodings()
    values = encodings.reconstruction.astype(np.float64) - encodings.kl.astype(np.float64)
    assert report.elbo == pytest.approx(values.mean(), rel=1e-6)
    assert report.elbo == pytest.approx(report.reconstruction - report.kl, rel=1e-6)
    assert report.kl == pytest.approx(sum(report.kl_per_dimension), rel=1e-5)
    assert report.elbo_standard_error == pytest.approx(values.std(ddof=1) / len(values) ** 0.5, rel=1e-5)
    assert report.active_units == int((encodings.mean.var(axis=0) > 0.01).sum())
    assert (report.examples, report.samples, report.unit) == (24, 1, "nats per image")
    assert tiny_run.reports()["samples=1,seed=0"] == dataclasses.asdict(report)


def test_more_samples_are_averaged_and_leave_the_reference_alone(tiny_run: Run) -> None:
    before = tiny_run.load_encodings().reconstruction
    report = evaluate(tiny_run, samples=3, seed=5)
    assert report.samples == 3
    assert set(tiny_run.reports()) == {"samples=1,seed=0", "samples=3,seed=5"}
    assert np.array_equal(tiny_run.load_encodings().reconstruction, before)
    model, data = tiny_run.load_model(), load_test_data(tiny_run)
    many = encode_images(model, data.images, samples=40).reconstruction
    assert report.reconstruction == pytest.approx(many.mean(), rel=0.02)
    x = torch.tensor(data.images / 255.0, dtype=torch.float32)
    posterior, noise = model.encode(x), generator_for(5, "evaluation", 0)
    drawn = []
    for _ in range(3):
        z = posterior.mean + torch.exp(posterior.logvar / 2) * torch.randn(len(data), 3, generator=noise)
        drawn.append(torch.distributions.Bernoulli(logits=model.decode(z), validate_args=False).log_prob(x).sum(dim=(1, 2, 3)))
    assert report.reconstruction == pytest.approx(float(torch.stack(drawn).mean()), rel=1e-5)
    assert report.kl == pytest.approx(encode_images(model, data.images).kl.mean(), rel=1e-5)


def test_batches_do_not_share_their_noise(tiny_run: Run) -> None:
    model, data = tiny_run.load_model(), load_test_data(tiny_run)
    repeated = np.concatenate([data.images] * (2 * BATCH // len(data) + 1))
    first, second = encode_images(model, repeated).reconstruction[:2], encode_images(model, repeated).reconstruction[:2]
    assert np.array_equal(first, second)
    shifted = encode_images(model, np.concatenate([repeated[:BATCH], repeated[:BATCH]])).reconstruction
    assert not np.array_equal(shifted[:BATCH], shifted[BATCH:])


def test_pixel_entropy_by_its_formula() -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 2, 3, 3)).astype(np.uint8)
    images[0] = 0
    images[1] = 255
    p = images.astype(np.float64) / 255
    inner = np.where((p > 0) & (p < 1), p, 0.5)
    terms = np.where((p > 0) & (p < 1), -inner * np.log(inner) - (1 - inner) * np.log(1 - inner), 0)
    np.testing.assert_allclose(pixel_entropy(images), terms.sum(axis=(1, 2, 3)), rtol=1e-5, atol=1e-6)


def test_the_floor_is_the_mean_entropy_of_the_test_images(tiny_run: Run) -> None:
    p = load_test_data(tiny_run).images.astype(np.float64) / 255
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.nan_to_num(-p * np.log(p)) + np.nan_to_num(-(1 - p) * np.log(1 - p))
    report = evaluate(tiny_run)
    assert report.entropy_floor == pytest.approx(terms.sum() / len(p), rel=1e-6)
    assert -report.elbo > report.entropy_floor


def test_a_likelihood_that_is_a_density_has_no_floor(tiny_run: Run) -> None:
    config = dataclasses.replace(tiny_run.config, model=dataclasses.replace(tiny_run.config.model, likelihood="gaussian"))
    run = Run(tiny_run.path, config)
    report = report_on(run, tiny_run.load_encodings(), load_test_data(tiny_run), 1, 0)
    assert report.entropy_floor is None
    assert evaluate(tiny_run).entropy_floor is not None


def test_other_test_images_than_the_runs_are_refused(tiny_run: Run) -> None:
    changed = dataclasses.replace(tiny_run.config, data_digests=tiny_run.config.data_digests | {"test": "0" * 16})
    with pytest.raises(
        DataError,
        match="its test images are not those .*digest 0000000000000000, found .*: restore them",
    ):
        load_test_data(Run(tiny_run.path, changed))


def test_statistics_of_encodings() -> None:
    random = np.random.default_rng(0)
    mean = (random.normal(size=(500, 4)) * [2.0, 0.05, 1.0, 0.0]).astype(np.float32)
    logvar = np.tile(np.log([0.1, 1.0, 0.5, 1.0]), (500, 1)).astype(np.float32)
    zeros = np.zeros(500, np.float32)
    encodings = Encodings(mean, logvar, zeros, zeros)
    assert encodings.active.tolist() == [True, False, True, False]
    assert encodings.active_dimensions.tolist() == [0, 2]
    assert encodings.order.tolist()[:2] == [0, 2]
    samples = mean + np.exp(logvar / 2) * random.normal(size=(200, 500, 4))
    np.testing.assert_allclose(encodings.aggregate_mean, samples.mean(axis=(0, 1)), atol=0.02)
    np.testing.assert_allclose(encodings.aggregate_std, samples.std(axis=(0, 1)), rtol=0.02)
    flat = Encodings(mean * 0, logvar * 0, zeros, zeros)
    assert flat.map_dimensions.tolist() == flat.order.tolist()
    assert flat.kl_per_dimension.tolist() == [0.0] * 4


def test_the_shipped_run_is_as_good_as_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    monkeypatch.delenv(CHECKPOINTS_VARIABLE, raising=False)
    run = open_run("fashion-mnist")
    report, encodings = run.reports()["samples=1,seed=0"], run.load_encodings()
    assert -report["elbo"] <= 235
    assert (report["examples"], report["samples"], report["likelihood"]) == (10_000, 1, "bernoulli")
    assert report["elbo"] == pytest.approx(encodings.elbo.mean(dtype=np.float64), abs=1e-3)
    assert report["entropy_floor"] == pytest.approx(189.86, abs=0.01)
    assert report["weights_digest"] == run.weights_digest()
    assert (run.path / "weights.safetensors").stat().st_size <= 8_000_000
    assert BATCH == 500
    again = encode_images(run.load_model(), load_dataset("fashion-mnist", "test").images[:BATCH])
    np.testing.assert_allclose(again.mean, encodings.mean[:BATCH], atol=1e-3)
    np.testing.assert_allclose(again.elbo, encodings.elbo[:BATCH], atol=0.05)


def test_images_taken_a_few_at_a_time_are_encoded_like_all_at_once(tiny_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = tiny_run.load_model(), load_test_data(tiny_run).images
    whole, entropy = encode_images(model, images), pixel_entropy(images)
    monkeypatch.setattr("vae.device.VALUES_AT_ONCE", 7 * 64)  # 24 images in four batches, the last of three
    pieces = encode_images(model, images)
    np.testing.assert_allclose(pieces.mean, whole.mean, atol=1e-6)
    np.testing.assert_allclose(pieces.kl, whole.kl, rtol=1e-5)
    assert not np.array_equal(pieces.reconstruction[7:], whole.reconstruction[7:])  # each batch has noise of its own
    np.testing.assert_allclose(pixel_entropy(images), entropy, rtol=1e-6)
