"""The page Generate without a browser: every section, on the shipped run."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from dashboard.components.latent_map import Select
from dashboard.generate import downloads
from dashboard.generate.groups import groups_of
from dashboard.generate.traversal import traversal_values
from dashboard.resources import load_run
from dashboard.state import Visit
from vae import Encodings, Run, Sheet, generator_for, interpolate_through, load_test_data, open_run, sample_prior
from vae.images import prepare, read_picture
from vae.sheets import decoded as sheet_pictures

APP = Path(__file__).resolve().parents[2] / "dashboard" / "app.py"
RUN = "fashion-mnist"


def key(app: AppTest, name: str) -> str:
    return f"generate-{visit_of(app).weights[:8]}-{name}"


def visit_of(app: AppTest) -> Visit:
    visit: Visit = app.session_state["visit"]
    return visit


def made(app: AppTest, name: str) -> Any:
    """What the section computed last."""
    assert not app.exception
    return app.session_state[key(app, f"made-{name}")][1]


def has_made(app: AppTest, name: str) -> bool:
    return key(app, f"made-{name}") in app.session_state


def said(app: AppTest) -> str:
    """All sentences on the page, as they are read: without the marks that keep names from being Markdown."""
    groups = (app.markdown, app.caption, app.info, app.error, app.warning)
    return "\n".join(element.value for group in groups for element in group).replace("\\", "")


def click(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label.startswith(label)).click().run()
    assert not app.exception
    return app


def show(app: AppTest, section: str) -> AppTest:
    app.segmented_control(key=key(app, "section")).set_value(section).run()
    assert not app.exception
    return app


def click_map(app: AppTest, section: str, row: int) -> None:
    """What the browser tells of a click on a point of the section's map."""
    commit = {"id": "a-1", "kind": "select", "clicked": [row], "polygon": None, "hidden": [], "primary": row}
    map_key = key(app, f"map-{section}-{app.session_state['generate-life']}")
    app.session_state[f"{map_key}-latent-map-feed-marks"] = {"commit": commit}
    app.run()  # there is no browser to call back at once, so the page follows in its next run
    app.run()
    assert not app.exception


@pytest.fixture
def generate() -> Callable[..., AppTest]:
    """Open a section of the page."""

    def start(section: str = "Samples", **query: str) -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=60)
        for name, value in query.items():
            app.query_params[name] = value
        app.switch_page("views/generate.py").run()
        return app if section == "Samples" else show(app, section)

    return start


@pytest.fixture(scope="module")
def encodings() -> Encodings:
    return open_run(RUN).load_encodings()


# --- samples -------------------------------------------------------------------------------------------------------


def test_samples_are_of_the_prior_by_seed_and_temperature(generate: Callable[..., AppTest]) -> None:
    app = generate()
    z, pictures, percentiles = made(app, "samples")
    np.testing.assert_array_equal(z, np.asarray(sample_prior(16, 64, generator_for(0, "view"))))
    assert pictures.shape == (16, 1, 28, 28)
    assert ((percentiles >= 0) & (percentiles <= 100)).all()
    assert "**16 samples**, decoded from z ~ N(0, I), seed 0" in said(app)
    click(app, "Resample")
    assert app.number_input(key=key(app, "seed")).value == 1
    np.testing.assert_array_equal(made(app, "samples")[0], np.asarray(sample_prior(16, 64, generator_for(1, "view"))))
    app.number_input(key=key(app, "side")).set_value(3).run()
    app.slider(key=key(app, "temperature")).set_value(0.5).run()
    np.testing.assert_array_equal(made(app, "samples")[0], 0.5 * np.asarray(sample_prior(9, 64, generator_for(1, "view"))))
    assert "**9 samples**, decoded from z ~ N(0, 0.50² I), seed 1" in said(app)
    assert not has_made(app, "overview")  # only what is shown is computed


def test_a_sample_opens_in_explore(generate: Callable[..., AppTest]) -> None:
    app = generate()
    z = made(app, "samples")[0]
    app.session_state[key(app, "samples-grid")] = {"choice": 3}
    app.run()
    assert not app.exception
    assert visit_of(app).origin == "prior"
    np.testing.assert_array_equal(visit_of(app).z, z[3])


# --- traversal -----------------------------------------------------------------------------------------------------


def test_a_traversal_adds_offsets_to_the_encoded_mean(generate: Callable[..., AppTest], encodings: Encodings) -> None:
    app = generate("Traversal", row="5")
    app.selectbox(key=key(app, "traversal-dimension")).set_value(2).run()
    z, pictures = made(app, "traversal")
    expected = np.tile(encodings.mean[5], (9, 1))
    expected[:, 2] += np.linspace(-1, 1, 9, dtype=np.float32)
    np.testing.assert_array_equal(z, expected)
    assert pictures.shape == (9, 1, 28, 28)
    overview, _ = made(app, "overview")
    first = encodings.active_dimensions[0]
    assert overview.shape == (len(encodings.active_dimensions) * 9, 64)
    np.testing.assert_allclose(overview[:9, first], encodings.mean[5, first] + np.linspace(-1, 1, 9), atol=1e-6)
    app.segmented_control(key=key(app, "traversal-range")).set_value("std").run()
    low, high = (encodings.aggregate_mean[first] + sign * 2 * encodings.aggregate_std[first] for sign in (-1, 1))
    np.testing.assert_allclose(made(app, "overview")[0][:9, first], np.linspace(low, high, 9), atol=1e-5)
    app.number_input(key=key(app, "low")).set_value(1.0).run()
    assert "The lowest offset must be below the highest one." in said(app)
    app.number_input(key=key(app, "low")).set_value(-0.5).run()
    z = made(app, "traversal")[0]
    app.session_state[key(app, "traversal-grid")] = {"choice": 0}
    app.run()
    assert not app.exception
    assert visit_of(app).row == 5
    np.testing.assert_array_equal(visit_of(app).z, z[0])


def test_the_range_from_min_to_max_is_that_of_the_encoded_means(encodings: Encodings) -> None:
    dimensions, offsets = encodings.active_dimensions[:3], np.linspace(-1, 1, 5).astype(np.float32)
    values = traversal_values(encodings, encodings.mean[0], dimensions, offsets, "extremes")
    np.testing.assert_array_equal(values[:, 0], encodings.mean[:, dimensions].min(axis=0))
    np.testing.assert_array_equal(values[:, -1], encodings.mean[:, dimensions].max(axis=0))


# --- interpolation -------------------------------------------------------------------------------------------------


def photo() -> bytes:
    pixels = np.full((90, 60), 245, np.uint8)
    pixels[20:70, 15:45] = 40
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def search_for(app: AppTest, text: str) -> None:
    app.text_input(key=key(app, "stop-search")).set_value(text).run()


def test_an_interpolation_goes_through_images_that_a_search_finds(
    generate: Callable[..., AppTest], encodings: Encodings
) -> None:
    app = generate("Interpolation", row="9")
    search_for(app, "hardest shirt")
    assert "16 of 1,000 of Shirt, by −ELBO, the highest first. A click adds one." in said(app)
    shirts = np.flatnonzero(load_test_data(open_run(RUN)).labels == 6)
    ranked = shirts[np.argsort(encodings.elbo[shirts], kind="stable")].tolist()
    for choice in (2, 0, 2):  # the third time it is there already
        app.session_state[key(app, "stops-found")] = {"choice": choice}
        app.run()
    assert app.session_state[key(app, "stops")] == [9, ranked[2], ranked[0]]
    assert app.text_input(key=key(app, "stop-search")).value == "hardest shirt"  # for the next of them
    show(app, "Samples")
    show(app, "Interpolation")
    assert "16 of 1,000 of Shirt" in said(app)
    for text, told in (("unicorn", "Nothing is called “unicorn”"), ("10000", "No row 10000: rows go from 0 to 9,999.")):
        search_for(app, text)
        assert told in said(app)
        assert "A click adds one" not in said(app)
    search_for(app, "4")
    assert app.session_state[key(app, "stops")] == [9, ranked[2], ranked[0], 4]
    assert app.text_input(key=key(app, "stop-search")).value == ""  # found and added: nothing more to look for
    search_for(app, "5")
    search_for(app, "6")
    assert app.text_input(key=key(app, "stop-search")).disabled


def test_an_interpolation_goes_through_images_by_row_and_from_the_map(
    generate: Callable[..., AppTest], encodings: Encodings
) -> None:
    app = generate("Interpolation", row="9")
    assert "An interpolation needs at least two images." in said(app)
    search_for(app, "4")
    frames = made(app, "interpolation")
    np.testing.assert_array_equal(frames.points, interpolate_through(encodings.mean[[9, 4]], 61))
    assert frames.stops == ((0, "row 9"), (60, "row 4"))
    assert frames.labels[30] == "50% from test image 9, Sneaker to test image 4, Shirt"
    again = frames.generation
    app.run()
    assert made(app, "interpolation").generation == again
    app.segmented_control(key=key(app, "path")).set_value("spherical").run()
    assert made(app, "interpolation").generation > again
    np.testing.assert_array_equal(
        made(app, "interpolation").points, interpolate_through(encodings.mean[[9, 4]], 61, "spherical")
    )
    visit_of(app).selection = Select(tuple(range(10)), clicked=tuple(range(10)))
    app.run()
    click(app, "Add the 10 images chosen on Explore")
    assert app.session_state[key(app, "stops")] == [9, 4, 0, 1, 2, 3]
    assert "An interpolation takes at most 6 images: 4 more were left out." in said(app)
    chosen = app.pills(key=key(app, "stops-shown"))
    chosen.set_value([chosen.value[0], chosen.value[3]]).run()
    assert app.session_state[key(app, "stops")] == [9, 1]
    frames = made(app, "interpolation")
    app.session_state[key(app, "interpolation-scrubber")] = {"commit": {"generation": frames.generation, "step": 50}}
    app.run()
    assert f"The buttons take frame 51 of 61: {frames.labels[50]}" in said(app)
    click(app, "Open in Explore")
    assert visit_of(app).row == 1
    np.testing.assert_array_equal(visit_of(app).z, frames.points[50])


def test_an_uploaded_picture_is_a_stop_and_a_bad_file_gets_a_sentence(generate: Callable[..., AppTest]) -> None:
    app = generate("Interpolation")
    app.file_uploader[0].set_value(("a.png", b"not a png", "image/png")).run()
    assert "found text" in app.error[0].value
    app.file_uploader[0].set_value(("shirt.png", photo(), "image/png")).run()
    click(app, "Add this picture")
    click(app, "Add this picture")  # it is there already
    stops = app.session_state[key(app, "stops")]
    assert len(stops) == 2
    np.testing.assert_array_equal(made(app, "interpolation").points[-1], stops[1].mean)
    assert made(app, "interpolation").stops[-1] == (60, "yours")


def test_a_click_on_the_map_adds_its_image(generate: Callable[..., AppTest]) -> None:
    app = generate("Interpolation")
    click_map(app, "interpolation", 77)
    assert app.session_state[key(app, "stops")] == [0, 77]


# --- directions ----------------------------------------------------------------------------------------------------


def test_a_direction_changes_what_the_probe_says(generate: Callable[..., AppTest], encodings: Encodings) -> None:
    app = generate("Directions", row="9")
    app.selectbox(key=key(app, "second-group")).set_value("Ankle boot").run()
    assert app.selectbox(key=key(app, "first-group")).value == "Sneaker"  # the class of the image on Explore
    labels = load_test_data(open_run(RUN)).labels
    used = encodings.active_dimensions
    difference = encodings.mean[labels == 9].mean(axis=0, dtype=float) - encodings.mean[labels == 7].mean(axis=0, dtype=float)
    frames, found = made(app, "direction-frames"), made(app, "direction")
    np.testing.assert_allclose(found.vector, difference[used], atol=1e-6)
    np.testing.assert_array_equal(frames.points[30], encodings.mean[9])
    np.testing.assert_allclose(frames.points[45][used], encodings.mean[9][used] + difference[used], atol=1e-5)
    inactive = ~encodings.active
    np.testing.assert_array_equal(frames.points[45][inactive], encodings.mean[9][inactive])
    readings = {reading.name: reading.values for reading in frames.readings}
    for name in ("P(Ankle boot | z)", "P(Ankle boot | picture)"):
        assert readings[name][30] < 10
        assert readings[name][-1] > 90
    assert (np.diff(readings["Strength"]) >= 0).all()
    assert found.separation.auc > 0.9
    assert f"{found.separation.accuracy:.1%} (guessing: 50%)" in said(app)
    assert "500 and 500 images held out" in said(app)
    assert 0.9 < np.median(found.cosines) < 1
    spread = f"median {np.median(found.cosines):.3f}, 5% are below {np.quantile(found.cosines, 0.05):.3f}"
    assert f"| cosine with resampled directions | {spread} | {len(found.cosines)} bootstrap resamples |" in said(app)
    click(app, "Swap")
    np.testing.assert_allclose(made(app, "direction").vector, -difference[used], atol=1e-6)


def test_a_click_on_the_map_moves_that_image(generate: Callable[..., AppTest], encodings: Encodings) -> None:
    app = generate("Directions", row="9")
    click_map(app, "direction", 77)
    assert app.number_input(key=key(app, "direction-row")).value == 77
    np.testing.assert_array_equal(made(app, "direction-frames").points[30], encodings.mean[77])


def test_an_image_from_outside_is_moved_along_a_direction(generate: Callable[..., AppTest]) -> None:
    app = generate("Directions", row="9")
    yours = load_run(RUN).subject_from_outside(prepare(read_picture(photo()), (1, 28, 28)).pixels)
    visit_of(app).show(yours)
    app.run()
    frames, found = made(app, "direction-frames"), made(app, "direction")
    np.testing.assert_array_equal(frames.points[30], yours.mean)
    used = load_run(RUN).encodings.active_dimensions
    np.testing.assert_allclose(frames.points[60][used], yours.mean[used] + 2 * found.vector, atol=1e-5)
    assert frames.labels[30] == "your image, as encoded"
    click_map(app, "direction", 77)
    assert made(app, "direction-frames").labels[30].startswith("test image 77")
    app.segmented_control(key=key(app, "direction-kind")).set_value("Your image").run()
    app.session_state[key(app, "direction-scrubber")] = {
        "commit": {"generation": made(app, "direction-frames").generation, "step": 45}
    }
    app.run()
    click(app, "Open in Explore")
    assert visit_of(app).outside is yours
    np.testing.assert_array_equal(visit_of(app).z, made(app, "direction-frames").points[45])


def test_groups_from_the_map_and_what_is_wrong_with_them(generate: Callable[..., AppTest]) -> None:
    app = generate("Directions", row="9")
    labels = load_test_data(open_run(RUN)).labels
    assert labels is not None
    sneakers = tuple(np.flatnonzero(labels == 7)[:20].tolist())
    visit_of(app).groups = {"some": sneakers, "few": (0, 1), "gone": (123_456,)}
    app.run()
    second = app.selectbox(key=key(app, "second-group"))
    assert second.options[-2:] == ["kept: some", "kept: few"]
    second.set_value("kept: some").run()
    assert "The groups share 20 images" in app.warning[0].value
    app.selectbox(key=key(app, "first-group")).set_value("Bag").run()
    assert made(app, "direction").counts == (1000, 20)
    app.selectbox(key=key(app, "second-group")).set_value("kept: few").run()
    assert "The second group needs at least 2 images" not in said(app)
    assert "The second group needs at least 4 images, got 2: choose a larger one." in app.warning[0].value
    app.selectbox(key=key(app, "second-group")).set_value("Bag").run()
    assert "The groups share 1,000 images" in app.warning[0].value


def test_without_groups_directions_say_how_to_make_some(
    generate: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    unlabelled = SimpleNamespace(data=SimpleNamespace(labels=None, class_names=(), __len__=lambda: 10))
    assert groups_of(unlabelled, Visit(run=RUN)) == {}  # type: ignore[arg-type]
    for module in ("directions", "arithmetic"):
        monkeypatch.setattr(f"dashboard.generate.{module}.groups_of", lambda loaded, visit: {})
    app = generate("Directions")
    assert "A direction needs two groups of images, and there is none. On Explore, draw a lasso" in said(app)
    show(app, "Arithmetic")
    assert made(app, "arithmetic")[0].shape == (4, 64)


# --- arithmetic ----------------------------------------------------------------------------------------------------


def test_arithmetic_and_its_neighbours(generate: Callable[..., AppTest], encodings: Encodings) -> None:
    app = generate("Arithmetic")
    for name, row in zip("abc", (3, 9, 28), strict=True):
        app.selectbox(key=key(app, f"kind-{name}")).set_value("one image").run()
        app.number_input(key=key(app, f"row-{name}")).set_value(row).run()
    z, _, _, near, distances = made(app, "arithmetic")
    mean, used = encodings.mean, encodings.active_dimensions
    np.testing.assert_allclose(z[3], mean[3] - mean[9] + mean[28], atol=1e-6)
    every = np.linalg.norm((mean[:, used] - z[3][used]).astype(float), axis=1)
    every[[3, 9, 28]] = np.inf
    np.testing.assert_array_equal(near, np.argsort(every)[:8])
    np.testing.assert_allclose(distances, np.sort(every)[:8], rtol=1e-4)
    app.selectbox(key=key(app, "kind-a")).set_value("mean of Trouser").run()
    labels = load_test_data(open_run(RUN)).labels
    np.testing.assert_allclose(made(app, "arithmetic")[0][0], mean[labels == 1].mean(axis=0), atol=1e-5)
    near = made(app, "arithmetic")[3]
    app.session_state[key(app, "neighbours-grid")] = {"choice": 2}
    app.run()
    assert visit_of(app).row == near[2]
    assert visit_of(app).z is None


# --- the page ------------------------------------------------------------------------------------------------------


def test_sheets_animations_and_archives_are_what_they_say(encodings: Encodings, monkeypatch: pytest.MonkeyPatch) -> None:
    offered: dict[str, Any] = {}
    for name in ("popover", "download_button"):
        monkeypatch.setattr(
            downloads.st, name, lambda label, data=None, *rest, **more: offered.update({label: data}) or nullcontext()
        )
    loaded, names = load_run(RUN), ["a/b", "c"]
    downloads.offer_pictures(loaded, "x", encodings.mean[:2], names, title="two & more", columns=2, moves=True)
    assert Image.open(io.BytesIO(offered["Sheet (PNG)"]())).format == "PNG"
    svg = offered["Sheet (SVG)"]().decode()
    assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    assert "fashion-mnist: two &amp; more" in svg
    for form in ("GIF", "WEBP"):
        moving = Image.open(io.BytesIO(offered[f"Animation ({'WebP' if form == 'WEBP' else form})"]()))
        assert (moving.format, moving.n_frames) == (form, 2)  # type: ignore[attr-defined]
    with zipfile.ZipFile(io.BytesIO(offered["Pictures (ZIP of PNG)"]())) as archive:
        assert archive.namelist() == ["001 a_b.png", "002 c.png"]
        picture = np.asarray(Image.open(io.BytesIO(archive.read("001 a_b.png"))))
    np.testing.assert_array_equal(picture, downloads.decoded(loaded, encodings.mean[:2])[0, 0])
    np.testing.assert_array_equal(np.load(io.BytesIO(offered["Latent points (NPY)"]())), encodings.mean[:2])


@pytest.fixture
def sheets(monkeypatch: pytest.MonkeyPatch) -> dict[str, Sheet]:
    """The sheets that sections offer, by their captions."""
    kept: dict[str, Sheet] = {}
    buttons: Callable[..., Any] = downloads.st.download_button

    def draw(sheet: Sheet, kind: str) -> bytes:
        kept[sheet.title.split(": ", 1)[1]] = sheet
        return b""

    def button(label: str, data: Any, *rest: Any, **more: Any) -> Any:
        if label == "Sheet (PNG)":
            data()
        return buttons(label, b"", *rest, **more)

    monkeypatch.setattr(downloads, "draw_sheet", draw)
    monkeypatch.setattr(downloads.st, "download_button", button)
    return kept


def test_a_sheet_of_traversals_says_its_range(
    generate: Callable[..., AppTest], encodings: Encodings, sheets: dict[str, Sheet]
) -> None:
    app = generate("Traversal", row="9")
    begin = "traversals of the posterior mean of test image 9, Sneaker, "
    sheet = sheets[f"{begin}offsets −1.00 to +1.00 added to its own values"]
    assert sheet.column_labels == tuple(f"{offset:+.2f}".replace("-", "−") for offset in np.linspace(-1, 1, 9))
    first = encodings.active_dimensions[0]
    for choice, low, high in (
        ("extremes", encodings.mean[:, first].min(), encodings.mean[:, first].max()),
        *[("std", *(encodings.aggregate_mean[first] + sign * 2 * encodings.aggregate_std[first] for sign in (-1, 1)))],
    ):
        sheets.clear()
        app.segmented_control(key=key(app, "traversal-range")).set_value(choice).run()
        (sheet,) = (sheet for title, sheet in sheets.items() if title.startswith(begin))
        assert sheet.row_labels[0].endswith(f" nats) {low:+.2f} to {high:+.2f}".replace("-", "−"))


def test_a_line_has_a_sheet_of_thirteen_of_its_frames(
    generate: Callable[..., AppTest], encodings: Encodings, sheets: dict[str, Sheet]
) -> None:
    app = generate("Directions", row="9")
    app.selectbox(key=key(app, "second-group")).set_value("Ankle boot").run()
    title = "the posterior mean of test image 9, Sneaker, moved −2.00 to +2.00 times Sneaker → Ankle boot"
    sheet, points = sheets[title], made(app, "direction-frames").points
    assert (sheet.columns, sheet.column_labels[0], sheet.column_labels[6]) == (13, "−2.00", "+0.00")
    np.testing.assert_array_equal(sheet.pictures, sheet_pictures(load_run(RUN).model, points[::5])[0])
    show(app, "Interpolation")
    search_for(app, "4")
    sheet = sheets["test image 9, Sneaker to test image 4, Shirt"]
    assert (sheet.column_labels[0], sheet.column_labels[6], sheet.column_labels[-1]) == ("0%", "50%", "100%")


def test_what_was_chosen_outlasts_other_sections_and_pages(generate: Callable[..., AppTest]) -> None:
    app = generate("Traversal")
    app.number_input(key=key(app, "steps")).set_value(5).run()
    show(app, "Samples")
    app.number_input(key=key(app, "seed")).set_value(12).run()
    app.switch_page("views/reconstruct.py").run()
    app.switch_page("views/generate.py").run()
    assert app.number_input(key=key(app, "seed")).value == 12
    show(app, "Traversal")
    assert app.number_input(key=key(app, "steps")).value == 5


def test_without_a_map_a_direction_still_works(generate: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.generate.shared.find_map", lambda loaded, asked: (None, "Make one."))
    app = generate("Directions")
    assert made(app, "direction-frames").positions is None
    assert "There is no map in two dimensions to draw the path on. Make one." in said(app)


def test_every_section_works_on_another_run(generate: Callable[..., AppTest], tiny_run: Run) -> None:
    app = generate(run="tiny-run")
    assert made(app, "samples")[1].shape == (16, 1, 8, 8)
    for section, name in (("Traversal", "overview"), ("Directions", "direction-frames"), ("Arithmetic", "arithmetic")):
        show(app, section)
        made(app, name)
    show(app, "Interpolation")
    search_for(app, "23")
    np.testing.assert_array_equal(made(app, "interpolation").points[-1], tiny_run.load_encodings().mean[23])
