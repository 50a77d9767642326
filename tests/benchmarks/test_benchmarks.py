"""Figures, their JSON and their tables. What they measure is measured by ``make bench``; no test asserts a time."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import quality
import results
import scale
from figures import Figure, measured, statistic_of
from quality import Curve, curve_of, recipe_of, report
from results import Results, begin, from_json, to_json, write
from table import BEGIN, END, between, cells, markdown, number, with_table

from vae import PRESETS

if TYPE_CHECKING:
    from tests.conftest import Workspace

HERE = Path(__file__).resolve().parent
README = HERE.parents[1] / "README.md"


def sample() -> Results:
    """Results of a machine that there isn't, with a figure of each kind."""
    fresh = Results({"processor": "Abacus 9", "cores": 2, "bf16": True, "memory_gib": 8, "gpu": None}, {"python": "3.11"})
    timed = measured("decode | 488", "ms", [9.0, 10.0, 11.0], "median", ("one by one", [40.0, 42.0, 41.0]), target=12)
    rate = Figure("train", "images/s", 8410.4, baseline="`notes`", baseline_value=774, better="higher", target_ratio=13)
    fresh.add("package", "quick", 30, [timed, Figure("read", "s", 0.2234)])
    fresh.add("throughput", "full", 90, [rate])
    return fresh


def test_a_ratio_above_one_is_better_whichever_way_the_unit_counts() -> None:
    assert Figure("a", "ms", 2, baseline="b", baseline_value=8).ratio == 4
    assert Figure("a", "images/s", 8, baseline="b", baseline_value=2, better="higher").ratio == 4
    assert Figure("a", "ms", 2).ratio is None
    assert Figure("a", "messages", 0, baseline="b", baseline_value=2).ratio is None


def test_a_target_is_met_by_the_value_and_by_the_ratio() -> None:
    assert Figure("a", "ms", 2).met is None
    assert Figure("a", "ms", 2, target=2).met
    assert not Figure("a", "ms", 2.1, target=2).met
    assert Figure("a", "frames/s", 60, better="higher", target=60).met
    assert not Figure("a", "ms", 2, baseline="b", baseline_value=4, target=3, target_ratio=3).met
    assert Figure("a", "ms", 2, baseline="b", baseline_value=6, target=3, target_ratio=3).met


@pytest.mark.parametrize(
    "wrong",
    [
        {"value": math.nan},
        {"value": 1.0, "baseline": "b"},
        {"value": 1.0, "baseline_value": 2.0},
        {"value": 1.0, "baseline": "b", "baseline_value": math.inf},
        {"value": 1.0, "target_ratio": 2.0},
    ],
)
def test_a_figure_that_says_half_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="a: a "):
        Figure("a", "ms", **wrong)  # type: ignore[arg-type]


def test_statistics_are_numpys() -> None:
    values = np.random.default_rng(0).exponential(size=41).tolist()
    assert statistic_of(values, "median") == np.median(values)
    assert statistic_of(values, "mean") == pytest.approx(np.mean(values))
    assert statistic_of(values, "most") == np.max(values)
    assert statistic_of(values, "p95") == np.quantile(values, 0.95, method="inverted_cdf")
    with pytest.raises(ValueError, match="once means one value, got 41"):
        statistic_of(values, "once")


def test_json_gives_back_what_went_in(tmp_path: Path) -> None:
    there = sample()
    there.curves["notes, seed 0"] = {"seconds": [1.0]}
    path = tmp_path / "new" / "figures.json"
    write(there, path)
    assert from_json(path.read_text()) == there
    assert to_json(from_json(path.read_text())) == path.read_text()
    (timed, read), (rate,) = (section["figures"] for section in json.loads(path.read_text())["sections"].values())
    assert (timed["ratio"], timed["met"], timed["n"], timed["statistic"]) == (4.1, True, 3, "median")
    assert rate["met"] is False
    assert read == {"name": "read", "unit": "s", "value": 0.2234, "n": 1, "statistic": "once", "better": "lower"}


def test_figures_of_another_machine_or_other_versions_are_not_mixed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "figures.json"
    there = sample()
    there.curves["notes, seed 0"] = {"nats": [250.0]}
    monkeypatch.setattr(results, "this_machine", lambda: there.machine)
    monkeypatch.setattr(results, "these_versions", lambda: there.versions)
    assert begin(path).sections == {}
    write(there, path)
    assert begin(path) == there
    monkeypatch.setattr(results, "these_versions", lambda: {"python": "3.12"})
    assert begin(path) == Results(there.machine, {"python": "3.12"}, curves=there.curves)
    assert "another versions (python 3.11 → 3.12)" in capsys.readouterr().out


def test_a_section_replaces_its_older_self_and_keeps_its_place() -> None:
    there = sample()
    there.add("package", "quick", 1, [Figure("read", "s", 1.0)])
    there.add("first", "quick", 1, [])
    assert list(there.in_order(["first", "package", "throughput"]).sections) == ["first", "package", "throughput"]
    assert [figure.value for figure in there.sections["package"].figures] == [1.0]
    assert "throughput" not in there.in_order(["package"]).sections


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        *((0, "0"), (0.0234, "0.0234"), (0.5, "0.500"), (1.234, "1.23"), (12.34, "12.3"), (123.4, "123"), (8410.4, "8,410")),
        *((9.996, "10.0"), (99.96, "100"), (-1.234, "-1.23")),
    ],
)
def test_numbers_have_three_digits(value: float, shown: str) -> None:
    assert number(value) == shown


def test_a_row_says_what_of_how_many_beside_what_and_whether_the_target_is_met() -> None:
    package, throughput = sample().sections.values()
    assert cells(package.figures[0]) == (
        "decode | 488",
        "10.0 ms (median of 3)",
        "one by one: 41.0 ms, ratio 4.10",
        "at most 12: met",
    )
    assert cells(throughput.figures[0]) == (
        "train",
        "8,410 images/s",
        "`notes`: 774 images/s, ratio 10.9",
        "13 times: missed",
    )
    assert cells(Figure("a", "s", 1.0, note="why"))[0] == "a (why)"


def test_the_readmes_table_shows_what_has_a_baseline_or_a_target() -> None:
    text = markdown(sample())
    assert text.count("\n") == 5
    assert r"| decode \| 488 | 10.0 ms (median of 3) |" in text
    assert "read" not in text
    assert text.startswith("Abacus 9, 2 cores with fast bf16, 8 GiB, no GPU; python 3.11; ")
    assert "Measuring took the quick sections 0.5 minutes, `throughput` 1.5." in text


def test_a_table_takes_the_old_ones_place_and_nothing_elses() -> None:
    readme = f"above\n\n{BEGIN}\n\nold\n\n{END}\n\nbelow\n"
    new = with_table(readme, sample())
    assert new.startswith(f"above\n\n{BEGIN}\n\nAbacus")
    assert new.endswith(f"\n\n{END}\n\nbelow\n")
    assert between(new) == markdown(sample())
    assert with_table(new, sample()) == new
    for broken in ("none", f"{BEGIN} only", readme + END):
        with pytest.raises(ValueError, match="needs each of these lines once"):
            with_table(broken, sample())


def test_the_readme_shows_the_kept_figures() -> None:
    kept = from_json((HERE / "results.json").read_text("utf-8"))
    assert between(README.read_text("utf-8")) == markdown(kept), "write it anew: python tests/benchmarks --readme"


# --- growth with the number of images ------------------------------------------------------------------------------


@pytest.mark.parametrize(("power", "value"), [(1.0, 20.0), (0.0, 2.0), (2.0, 200.0)])
def test_an_extrapolation_goes_on_by_the_power_law_and_says_that_it_is_one(power: float, value: float) -> None:
    times = scale.ratio([2.0], [2.0 / 10**power], "once")
    figure = scale.extrapolated("map", "s", 2.0, times)
    assert figure.value == pytest.approx(value)
    assert figure.name == "1,000,000 images, extrapolated: map"
    assert figure.note.startswith("not measured: extrapolated from 10,000 and 100,000")


def test_images_are_varied_by_shifts_and_noise_and_black_stays_black() -> None:
    image = np.zeros((1, 1, 12, 12), dtype=np.uint8)
    image[0, 0, 4:8, 4:8] = 120
    many = scale.varied(np.repeat(image, 200, axis=0), np.random.default_rng(0))
    assert (many.shape, many.dtype) == ((200, 1, 12, 12), np.uint8)
    rows, columns = (np.array([np.flatnonzero(one[0].any(axis=axis))[0] for one in many]) for axis in (1, 0))
    assert set(rows) == set(columns) == set(range(4 - scale.SHIFT, 4 + scale.SHIFT + 1))
    assert ((many > 0).sum(axis=(1, 2, 3)) == 16).all()
    seen = many[many > 0]
    assert (seen.min(), seen.max()) == (120 - scale.NOISE, 120 + scale.NOISE)


# --- the time to a level of quality --------------------------------------------------------------------------------


def curve(*nats: float, until: float = 0.0) -> Curve:
    """A curve of the preset fast, ten seconds an epoch after one of set-up."""
    return Curve(recipe_of("fast", 0), until, "2000-01-01", 1.0, [10.0] * len(nats), list(nats))


def test_the_time_to_a_level_counts_the_set_up_and_as_many_median_epochs_as_it_takes() -> None:
    course = curve(260, 241.9, 243, 240)
    course.seconds[0] = 45.0  # the machine had something else to do
    assert course.epochs_to(250.95) == pytest.approx(1.5)
    assert course.epochs_to(241.9) == 2
    assert course.time_to(250.95) == pytest.approx(16)
    assert course.time_to(241) == pytest.approx(1 + 10 * (3 + 2 / 3))
    assert course.epochs_to(270) == 1
    assert course.whole == 41
    with pytest.raises(ValueError, match=r"after 4 epochs the test's −ELBO is 240.00, above 239"):
        course.time_to(239)


def test_a_curve_is_whole_at_its_level_or_its_last_epoch() -> None:
    epochs = recipe_of("fast", 0)["train"]["epochs"]
    assert not curve().is_whole
    assert not curve(*[250.0] * (epochs - 1)).is_whole
    assert curve(*[250.0] * epochs).is_whole
    assert curve(250, 241, until=242).is_whole


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Which trainings were run; each has a set-up and two epochs, the second at 241 nats."""
    run: list[tuple[str, int]] = []

    def lines(preset: str, seed: int, until: float) -> Iterator[dict[str, float]]:
        run.append((preset, seed))
        yield from ({"set_up": 1.0}, {"seconds": 5.0, "nats": 250.0}, {"seconds": 6.0, "nats": 241.0})

    monkeypatch.setattr(quality, "_lines", lines)
    return run


def test_a_kept_curve_is_used_again_until_its_recipe_changes(trainings: list[tuple[str, int]]) -> None:
    there = sample()
    first = curve_of("notes", 0, 242.0, there)
    assert (first.set_up, first.seconds, first.nats) == (1.0, [5.0, 6.0], [250.0, 241.0])
    there = from_json(to_json(there))
    del there.curves["notes, seed 0"]["recipe"]["model"]["finest"]  # as if it had been kept before there was such a field
    assert curve_of("notes", 0, 242.0, there) == first
    assert trainings == [("notes", 0)]
    there.curves["notes, seed 0"]["recipe"]["train"]["batch_size"] = 7
    curve_of("notes", 0, 242.0, there)
    assert trainings == [("notes", 0)] * 2
    with pytest.raises(ValueError, match="the training of notes, seed 0 ended after 2 epochs"):
        curve_of("notes", 0, 240.0, there)


def test_a_training_reports_its_set_up_and_every_epoch(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, write_idx: Callable[[Path, np.ndarray], None]
) -> None:
    folder = workspace.data / "fashion-mnist"
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (48, 28, 28)).astype(np.uint8)
    for part in ("train", "t10k"):
        write_idx(folder / f"{part}-images-idx3-ubyte", images)
    whole = list(report("fast", 0, 0.0))
    assert len(whole) == 1 + PRESETS["fast"].train.epochs
    assert set(whole[0]) == {"set_up"}
    assert all(set(line) == {"seconds", "nats"} for line in whole[1:])
    stopped = list(report("fast", 0, whole[2]["nats"]))
    first = next(place for place, line in enumerate(whole[1:]) if line["nats"] <= whole[2]["nats"])
    assert [line["nats"] for line in stopped[1:]] == [line["nats"] for line in whole[1 : first + 2]]


def test_the_command_names_the_long_sections() -> None:
    done = subprocess.run([sys.executable, str(HERE), "--help"], check=True, capture_output=True, text=True)
    assert "time_to_quality" in done.stdout
