"""Every page without a browser: what it shows, what its widgets do, and what it says on a bad day."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from onnxruntime import InferenceSession
from PIL import Image
from streamlit.testing.v1 import AppTest

from dashboard import downloads
from dashboard.colourings import find_colouring
from dashboard.components.latent_map import View, commit_key
from dashboard.pictures import to_uint8
from dashboard.resources import LoadedRun, find_map, load_run
from dashboard.search import search_images
from dashboard.selection import means_npz, table_csv
from dashboard.state import Visit
from vae import MapConfig, Run, decode_images, load_dataset, make_map, open_run
from vae.runs import CHECKPOINTS_VARIABLE

OpenApp = Callable[..., AppTest]
RUN = "fashion-mnist"


def visit_of(app: AppTest) -> Visit:
    visit: Visit = app.session_state["visit"]
    return visit


def said(app: AppTest) -> str:
    """All sentences on the page, as they are read: without the marks that keep names from being Markdown."""
    groups = (app.markdown, app.caption, app.info, app.error, app.warning, app.subheader)
    return "\n".join(element.value for group in groups for element in group).replace("\\", "")


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


def slide(app: AppTest, action: str, changes: list[list[float]] | None = None, unfolded: tuple[str, ...] = ()) -> None:
    """What the sliders send when something was done with them."""
    visit = visit_of(app)
    commit = {"generation": visit.generation, "sequence": 1000 + visit.generation, "action": action}
    commit |= {"changes": changes or [], "unfolded": list(unfolded)}
    app.session_state[f"sliders-{visit.instance}"] = {"commit": commit}
    app.run()
    assert not app.exception


def on_the_map(app: AppTest, **commit: object) -> None:
    """What the map sends when something was done there."""
    visit = visit_of(app)
    number = app.session_state["sent"] + 1 if "sent" in app.session_state else 1
    app.session_state["sent"] = number
    app.session_state[commit_key(f"map-{visit.instance}")] = {"commit": {**commit, "id": f"test-{number}"}}
    app.run()
    assert not app.exception


def click(app: AppTest, row: int) -> None:
    on_the_map(app, kind="select", clicked=[row], polygon=None, hidden=[], primary=row)


def around(rows: list[int]) -> list[list[float]]:
    """A box on the map around some images."""
    coordinates = open_run(RUN).load_map(MapConfig()).coordinates[rows]
    (left, bottom), (right, top) = coordinates.min(axis=0).tolist(), coordinates.max(axis=0).tolist()
    return [[left - 0.1, bottom - 0.1], [right + 0.1, bottom - 0.1], [right + 0.1, top + 0.1], [left - 0.1, top + 0.1]]


def test_explore_shows_the_numbers_of_the_first_image(open_app: OpenApp) -> None:
    app = open_app()
    assert not app.exception
    encodings = open_run(RUN).load_encodings()
    text = said(app)
    assert (
        "UMAP 2-D, 15 neighbours, min. distance 0.1, euclidean, seed 0, of the posterior means of all 10,000 test images"
        in text
    )
    reconstruction, kl = -encodings.reconstruction[0], encodings.kl[0]
    assert f"−ELBO **{reconstruction + kl:.1f}** = reconstruction {reconstruction:.1f} + KL {kl:.1f} nats" in text
    assert "Decoded: the posterior mean of test image 0, Ankle boot" in text


def test_the_sidebar_states_the_run_with_its_sign_unit_and_count(open_app: OpenApp) -> None:
    report = open_run(RUN).reports()["samples=1,seed=0"]
    expected = f"test −ELBO {-report['elbo']:.1f} nats per image (mean, one sample of z; lower is better)"
    assert expected in said(open_app())


def test_the_strips_are_those_of_the_strongest_dimensions_about_the_posterior_mean(open_app: OpenApp) -> None:
    app, encodings = open_app(), open_run(RUN).load_encodings()
    strips = visit_of(app).strips
    assert strips is not None
    assert strips.dimensions.tolist() == encodings.active_dimensions[:8].tolist()
    assert strips.frames.shape == (8, 61, 1, 28, 28)
    np.testing.assert_array_equal(strips.z, encodings.mean[0])
    low, high = encodings.aggregate_mean - 2 * encodings.aggregate_std, encodings.aggregate_mean + 2 * encodings.aggregate_std
    assert (strips.low <= low).all()
    assert (strips.high >= high).all()
    np.testing.assert_array_equal(strips.settled, to_uint8(_loaded().decode(strips.z[None])[0]))


def test_a_drag_moves_one_dimension_and_reset_returns(open_app: OpenApp) -> None:
    app = open_app()
    before, first = visit_of(app).point(_loaded()).copy(), visit_of(app).generation
    dimension = int(_loaded().encodings.active_dimensions[0])
    slide(app, "drag", [[dimension, 1.25]])
    after = visit_of(app).z
    assert after is not None
    assert after[dimension] == pytest.approx(1.25)
    assert np.array_equal(np.delete(after, dimension), np.delete(before, dimension))
    assert visit_of(app).generation > first
    assert visit_of(app).answers == 1000 + first
    assert "Decoded: a point you moved to" in said(app)
    assert query(app)["z"] == f"{dimension}:1.25"
    slide(app, "reset")
    assert visit_of(app).z is None
    assert "z" not in query(app)


def test_undo_and_redo_walk_along_what_was_visited(open_app: OpenApp) -> None:
    app = open_app()
    slide(app, "prior")
    sample = visit_of(app).z
    click(app, 42)
    assert (visit_of(app).row, visit_of(app).z) == (42, None)
    slide(app, "undo")
    assert visit_of(app).row == 0
    assert np.array_equal(visit_of(app).z, sample)
    slide(app, "undo")
    assert visit_of(app).z is None
    assert not visit_of(app).history.can_undo
    slide(app, "redo")
    slide(app, "redo")
    assert visit_of(app).row == 42
    assert not visit_of(app).history.can_redo


def test_each_prior_sample_is_another_and_gaussian(open_app: OpenApp) -> None:
    app, drawn = open_app(), []
    for _ in range(3):
        slide(app, "prior")
        drawn.append(visit_of(app).z)
    values = np.concatenate(drawn)
    assert len({z.tobytes() for z in drawn}) == 3
    assert abs(values.mean()) < 0.3
    assert 0.75 < values.std() < 1.25
    assert "a sample of the prior N(0, I)" in said(app)


def test_a_posterior_sample_is_drawn_about_the_mean_with_its_spread(open_app: OpenApp) -> None:
    app = open_app()
    slide(app, "posterior")
    z, loaded = visit_of(app).z, _loaded()
    assert z is not None
    assert "a sample of the posterior of test image 0, Ankle boot" in said(app)
    standardised = (z - loaded.encodings.mean[0]) / np.exp(loaded.encodings.logvar[0] / 2)
    assert 0.6 < standardised.std() < 1.4


@pytest.mark.parametrize(
    "commit",
    [
        {"changes": [[63, float("nan")]]},
        {"changes": [[63, 1e9]]},
        {"changes": [[64, 0.0]]},
        {"changes": [[63, "1"]]},
        {"generation": 99},
        {"action": "rm -rf"},
        {"unfolded": ["all"]},
        {"sequence": -1},
    ],
)
def test_what_the_sliders_send_is_checked(open_app: OpenApp, commit: dict[str, object]) -> None:
    app = open_app()
    visit = visit_of(app)
    whole = {"generation": visit.generation, "sequence": 1, "action": "drag", "changes": [[63, 0.5]], "unfolded": []}
    app.session_state[f"sliders-{visit.instance}"] = {"commit": whole | commit}
    app.run()
    assert not app.exception
    assert visit_of(app).z is None
    slide(app, "drag", [[63, 0.5]])
    assert visit_of(app).z is not None


def test_more_dimensions_get_strips_when_they_are_unfolded(open_app: OpenApp) -> None:
    app = open_app()
    slide(app, "unfold", unfolded=("more",))
    strips = visit_of(app).strips
    assert strips is not None
    assert sorted(strips.dimensions.tolist()) == sorted(open_run(RUN).load_encodings().active_dimensions.tolist())
    slide(app, "unfold", unfolded=("more", "inactive"))
    strips = visit_of(app).strips
    assert strips is not None
    assert sorted(strips.dimensions.tolist()) == list(range(64))
    assert strips.frames.nbytes <= 1_000_000


def test_a_click_on_the_map_chooses_the_image(open_app: OpenApp) -> None:
    app = open_app()
    click(app, 9999)
    assert visit_of(app).row == 9999
    assert "the posterior mean of test image 9999, Sandal" in said(app)
    assert query(app)["row"] == "9999"


@pytest.mark.parametrize(
    "commit",
    [
        {"kind": "select", "clicked": [10_000], "polygon": None, "hidden": [], "primary": None},
        {"kind": "select", "clicked": [1], "polygon": None, "hidden": [], "primary": -1},
        {"kind": "select", "clicked": [], "polygon": [[0, 0], [1, float("inf")], [1, 1]], "hidden": [], "primary": None},
        {"kind": "empty", "x": float("nan"), "y": 0.0},
        {"kind": "open sesame"},
    ],
)
def test_what_the_map_sends_is_checked(open_app: OpenApp, commit: dict[str, object]) -> None:
    app = open_app()
    on_the_map(app, **commit)
    visit = visit_of(app)
    assert (visit.row, visit.z, visit.selection_rows) == (0, None, ())


def test_a_click_on_an_empty_place_decodes_what_may_lie_there(open_app: OpenApp) -> None:
    app, loaded = open_app(), _loaded()
    coordinates = open_run(RUN).load_map(MapConfig()).coordinates
    x, y = (coordinates[17] + [0.002, 0]).tolist()
    on_the_map(app, kind="empty", x=x, y=y)
    z, used = visit_of(app).z, loaded.encodings.map_dimensions
    nearest = np.argsort(np.square(coordinates - np.float32([x, y])).sum(axis=1))[:8]
    distances = np.square(coordinates[nearest] - np.float32([x, y])).sum(axis=1)
    expected = np.average(loaded.encodings.mean[nearest], axis=0, weights=1 / distances)
    assert z is not None
    np.testing.assert_allclose(z[used], expected[used], atol=0.02)
    inactive = np.setdiff1d(np.arange(64), used)
    np.testing.assert_array_equal(z[inactive], loaded.encodings.mean[0][inactive])
    assert "a place on the map, estimated from the 8 images nearest to it" in said(app)


def test_a_lasso_is_summed_up_below_the_map(open_app: OpenApp) -> None:
    app, encodings = open_app(), open_run(RUN).load_encodings()
    polygon = around([0, 1, 2, 3, 4])
    on_the_map(app, kind="select", clicked=[], polygon=polygon, hidden=[], primary=None)
    rows = visit_of(app).selection_rows
    assert {0, 1, 2, 3, 4} <= set(rows)
    text = said(app)
    assert f"**{len(rows):,} images selected** of 10,000" in text
    assert f"−ELBO {-encodings.elbo[list(rows)].mean():.1f} nats on average" in text
    table, labels = app.dataframe[0].value, load_dataset(RUN, "test").labels
    assert labels is not None
    counts = np.bincount(labels[list(rows)], minlength=10)
    assert table["images"].tolist() == sorted(counts[counts > 0].tolist(), reverse=True)
    assert table["share"].sum() == pytest.approx(100)
    widget(app.button, "Keep as a group").click().run()  # type: ignore[attr-defined]
    assert visit_of(app).groups == {"group 1": rows}
    widget(app.button, "Go to their mean z").click().run()  # type: ignore[attr-defined]
    np.testing.assert_allclose(visit_of(app).z, encodings.mean[list(rows)].mean(axis=0), atol=1e-5)
    assert "the mean of the selected images' encodings" in said(app)
    on_the_map(app, kind="clear")
    assert visit_of(app).selection_rows == ()
    assert "images selected" not in said(app)


def test_hidden_classes_are_not_in_a_lasso(open_app: OpenApp) -> None:
    app, labels = open_app(), load_dataset(RUN, "test").labels
    assert labels is not None
    on_the_map(app, kind="select", clicked=[], polygon=around(list(range(40))), hidden=[9, 7], primary=None)
    assert not {7, 9} & set(labels[list(visit_of(app).selection_rows)].tolist())


def test_what_a_selection_gives_away(open_app: OpenApp) -> None:
    loaded, shown = _loaded(), find_map(_loaded(), None)[0]
    assert shown is not None
    table = pd.read_csv(io.BytesIO(table_csv(loaded, shown, [3, 5])))
    assert table["row"].tolist() == [3, 5]
    assert table["class"].tolist() == ["Trouser", "Trouser"]
    np.testing.assert_allclose(table[["umap_x", "umap_y"]], shown.map.coordinates[[3, 5]], rtol=1e-5)
    np.testing.assert_allclose(table["elbo_nats"], table["reconstruction_nats"] - table["kl_nats"], rtol=1e-5)
    with np.load(io.BytesIO(means_npz(loaded, [3, 5])), allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["mean"], loaded.encodings.mean[[3, 5]])
        assert arrays["rows"].tolist() == [3, 5]


def test_colouring_is_chosen_and_kept_in_the_link(open_app: OpenApp) -> None:
    app = open_app()
    choice = app.selectbox(key="colouring")
    assert choice.options[:5] == [
        "Class",
        "−ELBO",
        "Reconstruction term, −log p(x|z)",
        "KL(q(z|x) ‖ p(z))",
        "Mean posterior σ, active dimensions",
    ]
    assert len(choice.options) == 5 + 64
    choice.set_value("z5").run()
    assert visit_of(app).colouring == "z5"
    again = open_app(**query(app))
    assert visit_of(again).colouring == "z5"


def test_the_numbers_that_colour_the_map() -> None:
    loaded, encodings = _loaded(), open_run(RUN).load_encodings()
    assert find_colouring(loaded, "class") is None
    expected = {
        "elbo": encodings.kl - encodings.reconstruction,
        "reconstruction": -encodings.reconstruction,
        "kl": encodings.kl,
        "sigma": np.sqrt(np.exp(encodings.logvar[:, encodings.active])).mean(axis=1),
        "z5": encodings.mean[:, 5],
    }
    for name, values in expected.items():
        found = find_colouring(loaded, name)
        assert found is not None
        np.testing.assert_allclose(found.values, values, rtol=1e-5)
        assert found.unit == ("" if name in ("sigma", "z5") else "nats")


def test_search_by_row_class_and_difficulty(open_app: OpenApp) -> None:
    app, encodings = open_app(), open_run(RUN).load_encodings()
    labels = load_dataset(RUN, "test").labels
    box = app.text_input(key="search")
    box.set_value("123").run()
    assert visit_of(app).row == 123
    app.text_input(key="search").set_value("hardest shirt").run()
    shirts = np.flatnonzero(labels == 6)
    hardest = int(shirts[encodings.elbo[shirts].argmin()])
    assert "16 of 1,000 of Shirt, by −ELBO, the highest first." in said(app)
    app.session_state[f"search-results-{visit_of(app).instance}"] = {"choice": 0}
    app.run()
    app.text_input(key="search").set_value("unicorn").run()
    assert "Nothing is called “unicorn”: the classes are T-shirt/top, Trouser" in said(app)
    app.text_input(key="search").set_value("70000").run()
    assert "No row 70000: rows go from 0 to 9,999." in said(app)
    rows, _ = search_images("hardest shirt", load_dataset(RUN, "test"), encodings.elbo)
    assert rows[0] == hardest


def test_a_random_image(open_app: OpenApp) -> None:
    app = open_app()
    widget(app.button, "Random").click().run()  # type: ignore[attr-defined]
    assert 0 <= visit_of(app).row < 10_000
    assert query(app)["row"] == str(visit_of(app).row)


def test_another_map_opens_at_once_and_is_in_the_link(open_app: OpenApp, checkpoints: Path) -> None:
    flat, deep = MapConfig(method="pca"), MapConfig(method="pca", components=3)
    for config in (flat, deep):
        make_map(open_run(RUN), config)
    app = open_app()
    on_the_map(app, kind="select", clicked=[], polygon=around([1, 2, 3]), hidden=[], primary=None)
    widget(app.button, "PCA 2-D").click().run()  # type: ignore[attr-defined]
    assert not app.exception
    assert "PCA 2-D, of the posterior means" in said(app)
    visit = visit_of(app)
    assert visit.selection_rows == ()
    assert visit.strips is not None
    assert visit.strips.positions is not None
    coordinates = open_run(RUN).load_map(flat).coordinates
    low, high = coordinates.min(axis=0), coordinates.max(axis=0)
    assert (visit.strips.positions >= low).all()
    assert (visit.strips.positions <= high).all()
    again = open_app(**query(app))
    assert visit_of(again).map == flat
    widget(app.button, "PCA 3-D").click().run()  # type: ignore[attr-defined]
    assert not app.exception
    assert visit_of(app).strips.positions is None  # type: ignore[union-attr]
    assert "map=pca" in "&".join(f"{name}={value}" for name, value in query(app).items())


def test_a_map_that_was_fitted_to_a_part_says_so(open_app: OpenApp, checkpoints: Path) -> None:
    run, config = open_run(RUN), MapConfig(seed=3)
    run.save_map(run.load_map(MapConfig()).coordinates, config, fitted=6000)
    app = open_app()
    assert "drawn at random" not in said(app)
    widget(app.button, "UMAP 2-D, 15 neighbours, min. distance 0.1, euclidean, seed 3").click().run()  # type: ignore[attr-defined]
    assert not app.exception
    assert "active dimensions, fitted to 6,000 of them drawn at random, the others placed" in said(app)


def test_a_map_in_three_dimensions_is_not_drawn_of_too_many(
    open_app: OpenApp, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_map(open_run(RUN), MapConfig(method="pca", components=3))
    app = open_app()
    monkeypatch.setattr("dashboard.components.latent_map_3d.MOST_TURNED", 9_999)
    widget(app.button, "PCA 3-D").click().run()  # type: ignore[attr-defined]
    assert not app.exception
    assert [info.value for info in app.info] == [
        "A 3-D map of 10,000 images is more than a browser can turn: open a flat one under Maps."
    ]


def test_a_lasso_is_given_up_where_the_map_has_three_dimensions(open_app: OpenApp, checkpoints: Path) -> None:
    make_map(open_run(RUN), MapConfig(method="pca", components=3))
    app = open_app()
    on_the_map(app, kind="select", clicked=[], polygon=around([1, 2, 3]), hidden=[], primary=None)
    assert visit_of(app).selection_rows
    widget(app.button, "PCA 3-D").click().run()  # type: ignore[attr-defined]
    assert not app.exception
    assert visit_of(app).selection_rows == ()


# --- exports -------------------------------------------------------------------------------------------------------


class Untouched:
    """A lock that nobody may ask for."""

    def __enter__(self) -> None:
        raise AssertionError("other visitors would have to wait")

    def __exit__(self, *_: object) -> None:
        """Nothing to let go."""


def test_the_exports_of_a_run_are_what_they_say(tiny_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    offered: dict[str, Callable[[], bytes]] = {}
    for name in ("popover", "download_button"):
        monkeypatch.setattr(
            downloads.st, name, lambda label, data=None, *rest, **more: offered.update({label: data}) or nullcontext()
        )
    loaded = dataclasses.replace(load_run("tiny-run"), lock=Untouched())  # type: ignore[arg-type]
    shown, _ = find_map(loaded, None)
    assert shown is not None
    downloads.offer_run(loaded, shown)
    encodings = tiny_run.load_encodings()
    with np.load(io.BytesIO(offered["Means and kept maps (NPZ)"]()), allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["mean"], encodings.mean)
        np.testing.assert_array_equal(arrays["map_0"], shown.map.coordinates)
        assert json.loads(str(arrays["info"]))["weights_digest"] == loaded.weights_digest
    encoder, decoder = (offered[f"The {part} as a network (ONNX)"]() for part in ("encoder", "decoder"))
    images = loaded.data.images.astype(np.float32) / 255
    mean, _ = InferenceSession(encoder).run(None, {"image": images})
    np.testing.assert_allclose(mean, encodings.mean, atol=1e-4)
    (decoded,) = InferenceSession(decoder).run(None, {"z": encodings.mean})
    np.testing.assert_allclose(decoded, decode_images(loaded.model, encodings.mean), atol=1e-4)


# --- links ---------------------------------------------------------------------------------------------------------


def test_two_lassos_kept_as_groups_make_a_direction(open_app: OpenApp) -> None:
    app = open_app()
    kept = []
    for row in (0, 2):  # ankle boots, and trousers
        on_the_map(app, kind="select", clicked=[], polygon=around([row]), hidden=[], primary=None)
        widget(app.button, "Keep as a group").click().run()  # type: ignore[attr-defined]
        kept.append(visit_of(app).selection_rows)
    assert list(visit_of(app).groups.values()) == kept
    assert min(len(rows) for rows in kept) > 10
    app.switch_page("views/generate.py").run()
    widget(app.get("button_group"), "Generate").set_value("Directions").run()  # type: ignore[attr-defined]
    widget(app.selectbox, "From group").set_value("kept: group 1").run()  # type: ignore[attr-defined]
    widget(app.selectbox, "To group").set_value("kept: group 2").run()  # type: ignore[attr-defined]
    assert not app.exception
    found = app.session_state[f"generate-{visit_of(app).weights[:8]}-made-direction"][1]
    means = open_run(RUN).load_encodings()
    first, second = (means.mean[list(rows)][:, means.map_dimensions].mean(axis=0, dtype=float) for rows in kept)
    assert found.counts == (len(kept[0]), len(kept[1]))
    np.testing.assert_allclose(found.vector, second - first, atol=1e-5)


def test_a_link_opens_the_same_view(open_app: OpenApp) -> None:
    first = open_app()
    click(first, 42)
    slide(first, "drag", [[63, -1.5]])
    on_the_map(first, kind="select", clicked=[7], polygon=around([1, 2, 3]), hidden=[6], primary=None)
    on_the_map(first, kind="view", ranges=[1.5, 4.25, -2.0, 3.0])
    second = open_app(**query(first))
    assert visit_of(second).row == 42
    assert visit_of(second).selection_rows == visit_of(first).selection_rows
    assert visit_of(second).view == visit_of(first).view == View((1.5, 4.25, -2.0, 3.0))
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
        ({"colour": "z64"}, "a colouring that this run doesn't have"),
        ({"map": "umap-15-0.1-euclidean-30.0-2-99"}, "a map that isn't kept here"),
        ({"view": "1,2,3"}, "a part of the map that makes no sense"),
        ({"view": "2,1,3,4"}, "a part of the map that makes no sense"),
        ({"lasso": "1,2,3"}, "a selection that doesn't fit this map"),
        ({"lasso": "0,0,1,1,nan,2"}, "a selection that doesn't fit this map"),
        ({"chosen": "3.10000"}, "a selection that doesn't fit this map"),
        ({"lasso": "0,0,1,1,1,2", "without": "10"}, "a selection that doesn't fit this map"),
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
    assert "There is no run yet. Train one on the page Train" in said(app)


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
    assert "all 10,000 test images" in said(app)


def test_a_run_without_a_map_is_still_usable(open_app: OpenApp, checkpoints: Path) -> None:
    shutil.rmtree(checkpoints / RUN / "maps")
    app = open_app()
    assert not app.exception
    assert "**This run has no map to show.**" in said(app)
    assert "python -m vae map fashion-mnist" in app.text[0].value
    assert widget(app.button, "Make the map: UMAP 2-D, 15 neighbours")
    strips = visit_of(app).strips
    assert strips is not None
    assert strips.positions is None


def test_a_map_of_other_weights_is_not_shown(open_app: OpenApp, checkpoints: Path) -> None:
    config = json.loads((checkpoints / RUN / "config.json").read_text())
    run = open_run(RUN)
    from vae import build_model

    run.save_weights(build_model(run.config.model, 1))
    app = open_app()
    assert config["format"] == 1
    assert "made from other weights or test data" in app.error[0].value


def _loaded() -> LoadedRun:
    return load_run(RUN)


def test_the_real_data_has_the_promised_splits() -> None:
    assert [len(load_dataset(RUN, split)) for split in ("train", "validation", "test")] == [55_000, 5_000, 10_000]  # type: ignore[arg-type]
