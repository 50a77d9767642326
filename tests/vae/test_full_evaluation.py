"""A full evaluation: its figures computed again by other means, its order, and what an interruption leaves."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from vae import ConfigError, Encodings, FullConfig, FullReport, Report, Run, evaluate_fully, open_run, report_from_json
from vae.__main__ import main
from vae.data import DATA_VARIABLE
from vae.diagnostics import mmd_to_prior, round_trip
from vae.runs import CHECKPOINTS_VARIABLE

SMALL = FullConfig(
    importance_images=18,
    importance_samples=50,
    annealing_images=12,
    refinement_steps=40,
    elbo_samples=50,
    chains=8,
    temperatures=8,
)
OPTIONS = [text for name, value in dataclasses.asdict(SMALL).items() for text in (f"--{name.replace('_', '-')}", str(value))]


@pytest.fixture(scope="module")
def source(tiny_run_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a run, fully evaluated once for all tests here."""
    copy = tmp_path_factory.mktemp("full") / "checkpoints" / "tiny-run"
    shutil.copytree(tiny_run_source, copy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(DATA_VARIABLE, str(tiny_run_source.parents[1] / "data"))
        patch.setenv(CHECKPOINTS_VARIABLE, str(copy.parent))
        evaluate_fully(open_run("tiny-run"), SMALL)
    return copy


@pytest.fixture
def report(source: Path) -> FullReport:
    return report_from_json(open_run(source).reports()[FullReportKey])


FullReportKey = (
    "full,importance_images=18,importance_samples=50,annealing_images=12,refinement_steps=40,elbo_samples=50,chains=8,"
    "temperatures=8,seed=0"
)


def test_it_is_kept_beside_the_quick_one_and_nothing_else_is(source: Path, report: FullReport) -> None:
    reports = open_run(source).reports()
    assert set(reports) == {"samples=1,seed=0", FullReportKey}
    assert report.setting == FullReportKey
    assert json.loads(json.dumps(dataclasses.asdict(report))) == reports[FullReportKey]
    Report(**reports["samples=1,seed=0"])
    assert not (source / "evaluation").exists()


def test_every_figure_says_what_it_is(report: FullReport) -> None:
    names = [figure.name for figure in report.figures]
    assert len(set(names)) == len(names) == 24
    counts = {name: (report[name].images, report[name].samples) for name in names}
    assert counts["elbo"] == (24, 1)
    assert counts["importance_50"] == (18, 50)
    assert counts["annealed"] == (12, 8)
    assert counts["amortization_gap"] == (12, 50)
    table = report.table()
    for figure in report.figures:
        assert figure.label in table
        assert figure.unit
        assert np.isfinite(figure.value)
    assert "entropy floor of -log p" in table
    assert "cross-entropy, not a normalised likelihood" in table
    assert report.likelihood == "bernoulli"


def test_the_quick_figures_are_the_quick_reports(source: Path, report: FullReport) -> None:
    quick = open_run(source).reports()["samples=1,seed=0"]
    assert report["elbo"].value == pytest.approx(-quick["elbo"], rel=1e-6)
    assert report["elbo"].standard_error == pytest.approx(quick["elbo_standard_error"], rel=1e-4)
    assert report["reconstruction"].value == pytest.approx(-quick["reconstruction"], rel=1e-6)
    assert report["kl"].value == pytest.approx(quick["kl"], rel=1e-6)
    assert report["entropy_floor"].value == pytest.approx(quick["entropy_floor"], rel=1e-6)
    assert report["active_units"].value == quick["active_units"]
    assert report.kl_per_dimension == pytest.approx(quick["kl_per_dimension"])


def test_the_gaps_add_up_and_the_bounds_are_ordered(report: FullReport) -> None:
    gaps = {name: report[f"{name}_gap"].value for name in ("inference", "approximation", "amortization")}
    assert gaps["inference"] == pytest.approx(gaps["approximation"] + gaps["amortization"])
    assert gaps["inference"] == pytest.approx(report["few_elbo"].value - report["annealed"].value)
    assert gaps["amortization"] == pytest.approx(report["few_elbo"].value - report["refined_elbo"].value)
    assert gaps["amortization"] > 0
    assert report["importance_50"].value < report["importance_1"].value
    floor = report["entropy_floor"].value
    assert floor < report["annealed"].value < report["few_elbo"].value
    error = report["amortization_gap"].standard_error
    assert error is not None
    assert error < (report["few_elbo"].standard_error or 0) + (report["refined_elbo"].standard_error or 0)  # paired


def test_the_aggregate_posterior_is_that_of_the_encodings(source: Path, report: FullReport) -> None:
    with np.load(source / "encodings.npz") as arrays:
        mean, logvar = arrays["mean"].astype(np.float64), arrays["logvar"].astype(np.float64)
    assert report.aggregate_mean == pytest.approx(mean.mean(axis=0))
    assert report.aggregate_variance == pytest.approx(mean.var(axis=0) + np.exp(logvar).mean(axis=0))


def test_an_interrupted_evaluation_goes_on_to_the_same_report(
    tiny_run: Run, report: FullReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[str] = []
    original = Run.save_piece

    def keep(run: Run, key: str, name: str, arrays: dict[str, np.ndarray]) -> None:
        if len(kept) == 2:
            raise KeyboardInterrupt
        original(run, key, name, arrays)
        kept.append(name)

    monkeypatch.setattr(Run, "save_piece", keep)
    with pytest.raises(KeyboardInterrupt):
        evaluate_fully(tiny_run, SMALL)
    assert kept == ["importance-00000", "annealing-00000"]
    assert FullReportKey not in tiny_run.reports()
    assert len(list((tiny_run.path / "evaluation").glob("*/*.npz"))) == 2
    made: list[str] = []
    monkeypatch.setattr(Run, "save_piece", lambda run, key, name, arrays: (made.append(name), original(run, key, name, arrays)))
    assert evaluate_fully(tiny_run, SMALL) == report
    assert made == ["annealing-00001"]
    assert not (tiny_run.path / "evaluation").exists()


def test_a_cut_piece_is_made_anew_and_pieces_of_other_settings_are_left(tiny_run: Run) -> None:
    tiny_run.save_piece("a", "importance-00000", {"bound": np.zeros(3)})
    tiny_run.save_piece("b", "importance-00000", {"bound": np.ones(3)})
    found = tiny_run.load_piece("b", "importance-00000")
    assert found is not None
    assert found["bound"].tolist() == [1.0, 1.0, 1.0]
    (tiny_run.path / "evaluation" / "b" / "importance-00000.npz").write_bytes(b"PK")
    assert tiny_run.load_piece("b", "importance-00000") is None
    tiny_run.forget_pieces("b")
    assert tiny_run.load_piece("a", "importance-00000") is not None


def test_the_command_prints_the_table_or_json(
    tiny_run: Run, source: Path, report: FullReport, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def found(run: Run, config: FullConfig, seed: int, *_: object) -> FullReport:
        asked.append((run.name, config, seed))
        return report

    monkeypatch.setattr("vae.__main__.evaluate_fully", found)
    assert main(["evaluate", "tiny-run", "--full", "--seed", "3", *OPTIONS]) == 0
    assert capsys.readouterr().out.strip() == report.table()
    assert main(["evaluate", "tiny-run", "--full", "--json"]) == 0
    assert report_from_json(json.loads(capsys.readouterr().out)) == report
    assert asked == [("tiny-run", SMALL, 3), ("tiny-run", FullConfig(), 0)]

    def stopped(*_: object) -> FullReport:
        raise KeyboardInterrupt

    monkeypatch.setattr("vae.__main__.evaluate_fully", stopped)
    assert main(["evaluate", "tiny-run", "--full"]) == 130
    assert "stopped; the same command goes on from here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--chains", "4"], "belong to a full evaluation: add --full"),
        (["--full", "--samples", "5"], "--samples is of the quick evaluation"),
        (["--full", "--chains", "1"], "chains must be a whole number from 2 to 10,000, got 1"),
        (["--full", "--annealing-images", "2000"], "annealing_images must be at most importance_images"),
        (["--full", "--temperatures", "0"], "temperatures must be a whole number from 1"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    tiny_run: Run, capsys: pytest.CaptureFixture[str], options: list[str], reason: str
) -> None:
    assert main(["evaluate", "tiny-run", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line


def test_a_configuration_of_the_wrong_type_is_refused() -> None:
    with pytest.raises(ConfigError, match="elbo_samples must be a whole number from 1 to 1,000,000, got True"):
        FullConfig(elbo_samples=True)
    assert FullConfig(importance_samples=300).ks == (1, 10, 100, 300)
    assert FullConfig(importance_samples=1).ks == (1,)


# --- diagnostics ---------------------------------------------------------------------------------------------------


def test_mmd_is_that_of_two_gaussians_in_closed_form() -> None:
    """With a - b ~ N(m, v I): E k(a, b) = (d / (d + v))^(d/2) exp(-|m|^2 / (2 (d + v)))."""
    dimensions, count, shift, scale = 4, 10_000, 0.5, 1.4
    z = shift + scale * torch.randn(count, dimensions, generator=torch.Generator().manual_seed(0))

    def expected(mean: float, variance: float) -> float:
        d = dimensions
        return float((d / (d + variance)) ** (d / 2) * np.exp(-d * mean**2 / (2 * (d + variance))))

    exact = expected(0, 2 * scale**2) + expected(0, 2) - 2 * expected(shift, scale**2 + 1)
    found = mmd_to_prior(z, torch.Generator().manual_seed(1))
    assert found.standard_error is not None
    assert found.standard_error < 0.1 * exact
    assert abs(found.value - exact) < 3 * found.standard_error
    same = mmd_to_prior(
        torch.randn(count, dimensions, generator=torch.Generator().manual_seed(2)), torch.Generator().manual_seed(3)
    )
    assert same.standard_error is not None
    assert abs(same.value) < 3 * same.standard_error


def test_mmd_of_a_few_points_by_hand() -> None:
    z = torch.randn(5, 2, generator=torch.Generator().manual_seed(0)) + 1
    prior = torch.randn(5, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64).numpy()
    points = z.double().numpy()

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.exp(-((a - b) ** 2).sum() / 4))

    pairs = [(i, j) for i in range(5) for j in range(5)]
    apart = [(i, j) for i, j in pairs if i != j]
    within = sum(kernel(part[i], part[j]) for part in (points, prior) for i, j in apart) / 20
    between = sum(kernel(points[i], prior[j]) for i, j in pairs) / 25
    found = mmd_to_prior(z, torch.Generator().manual_seed(1))
    assert found.value == pytest.approx(within - 2 * between)
    assert found.standard_error is None
    with pytest.raises(ValueError, match="at least 2 points, got 1"):
        mmd_to_prior(z[:1], torch.Generator())


def test_a_round_trip_by_hand(tiny_run: Run) -> None:
    model = tiny_run.load_model()
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 8, 8)).astype(np.uint8)
    random = np.random.default_rng(1)
    mean, z = (random.normal(size=(3, 3)).astype(np.float32) for _ in range(2))
    found = round_trip(model, images, Encodings(mean, mean * 0, mean[:, 0], mean[:, 0]), z)
    for row in range(3):
        seen = torch.sigmoid(model.decode(torch.tensor(z[row : row + 1])))
        again, logvar = model.encoder(seen)
        residual = (torch.tensor(z[row]) - again[0]) / torch.exp(logvar[0]).sqrt()
        np.testing.assert_allclose(found.residual[row], residual, rtol=1e-4, atol=1e-5)
        error = ((images[row] / 255.0 - seen[0].numpy()) ** 2).mean()
        assert found.squared_error[row] == pytest.approx(error, rel=1e-4)
        at_mean = torch.sigmoid(model.decode(torch.tensor(mean[row : row + 1])))[0].numpy()
        assert found.squared_error_at_mean[row] == pytest.approx(((images[row] / 255.0 - at_mean) ** 2).mean(), rel=1e-4)
