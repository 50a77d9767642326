"""The Dataset page without a browser: what it shows is what the data and the run say; uploads are kept or refused."""

from __future__ import annotations

import io
import os
import re
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from dashboard import jobs
from dashboard.markdown import plain
from dashboard.uploads import progress_words
from vae import Run, load_dataset, make_dataset, open_run
from vae.jobs import STATUS_FILE, JobError, JobStatus, run_job
from vae.preview import take_look
from vae.staged import stage_upload, upload_folder
from vae.survey import class_counts, closest_pairs, extremes, pixel_statistics, rows_of_class

OpenApp = Callable[..., AppTest]


def said(app: AppTest) -> str:
    groups = (app.markdown, app.caption, app.info, app.error, app.warning, app.success, app.code)
    return "\n".join(element.value for group in groups for element in group)


def rows_offered(app: AppTest, group: str) -> list[int]:
    """The rows of the images in a group, read from their buttons."""
    buttons = [button for button in app.button if str(button.key).startswith(f"open-{group}-")]
    return [int(button.label.removeprefix("Row ").replace(",", "")) for button in buttons]


def press(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label == label).click().run()
    return app


# --- the shipped run -----------------------------------------------------------------------------------------------


def test_it_shows_sixteen_images_and_others_of_a_class(open_app: OpenApp) -> None:
    app = open_app("dataset")
    assert not app.exception
    first = rows_offered(app, "image")
    assert len(set(first)) == 16
    press(app, "Other images")
    assert rows_offered(app, "image") != first
    chosen = next(box for box in app.selectbox if box.label == "Class")
    chosen.set_value(9).run()
    labels = load_dataset("fashion-mnist", "test").labels
    assert labels is not None
    assert set(labels[rows_offered(app, "image")]) == {9}
    assert "16 of 1,000 test images, drawn at random" in said(app)
    app.segmented_control(key="dataset-split").set_value("train").run()
    assert not app.exception
    assert rows_offered(app, "image") == []  # Explore shows test images
    assert re.search(r"16 of 5,\d{3} train images", said(app))


def test_an_image_opens_in_explore(open_app: OpenApp) -> None:
    app = open_app("dataset")
    row = rows_offered(app, "image")[3]
    next(button for button in app.button if button.key == "open-image-3").click().run()
    assert app.session_state["visit"].row == row
    assert f"test image {row}" in said(app)


def test_what_it_says_of_the_shipped_run_is_what_the_data_and_the_encodings_say(open_app: OpenApp) -> None:
    app = open_app("dataset")
    check_numbers(app)
    check_extremes(app)
    check_pairs(app)


def check_numbers(app: AppTest) -> None:
    """The counts of classes and the pixel statistics."""
    assert "**55,000 train, 5,000 validation, 10,000 test** images of 28 × 28 pixels, grey, 10 classes" in said(app)
    counts, pixels = (frame.value for frame in app.dataframe)
    assert counts["test"].tolist() == [1_000] * 10
    assert (counts["train"] + counts["validation"]).tolist() == [6_000] * 10
    images = load_dataset("fashion-mnist", "test").images
    line = pixels[pixels["split"] == "test"].iloc[0]
    assert line["mean"] == pytest.approx(images.mean(), abs=0.051)
    assert line["standard deviation"] == pytest.approx(images.std(), abs=0.051)
    assert line["black (0)"] == f"{(images == 0).mean():.1%}"


def check_extremes(app: AppTest) -> None:
    """The hardest and the easiest are the extremes of the ELBO."""
    elbo = open_run("fashion-mnist").load_encodings().elbo
    assert rows_offered(app, "hardest") == np.argsort(elbo, kind="stable")[:8].tolist()
    assert elbo[rows_offered(app, "easiest")].tolist() == sorted(elbo.tolist(), reverse=True)[:8]
    assert f"{-elbo.min():.1f}, " in said(app)
    labels = load_dataset("fashion-mnist", "test").labels
    assert labels is not None
    next(box for box in app.selectbox if str(box.key).startswith("extremes-class")).set_value(9).run()
    boots = np.flatnonzero(labels == 9)
    ranked = boots[np.argsort(elbo[boots], kind="stable")].tolist()
    assert rows_offered(app, "hardest") == ranked[:8]
    assert elbo[rows_offered(app, "easiest")].tolist() == elbo[ranked[:-9:-1]].tolist()
    average = f"1,000 images, {-elbo[boots].mean():.1f} on average"
    assert "Test images of Ankle boot by −ELBO" in said(app)
    assert average in said(app)


def check_pairs(app: AppTest) -> None:
    """The pairs are the closest there are."""
    offered = rows_offered(app, "pair")
    encodings = open_run("fashion-mnist").load_encodings()
    points = encodings.mean[:, encodings.map_dimensions].astype(np.float64)
    found = [float(np.linalg.norm(points[a] - points[b])) for a, b in zip(offered[::2], offered[1::2], strict=True)]
    assert len(found) == 8
    assert found == sorted(found)
    # No other pair is closer than the last of these: looked at by brute force around a few hundred points.
    for row in [*offered[:2], *range(0, 10_000, 50)]:
        apart = np.linalg.norm(points - points[row], axis=1)
        apart[row] = np.inf
        pair = {row, int(apart.argmin())}
        assert apart.min() >= found[-1] - 1e-5 or pair in [set(two) for two in zip(offered[::2], offered[1::2], strict=True)]


# --- the functions under it ----------------------------------------------------------------------------------------


def test_pairs_of_points_against_all_pairs() -> None:
    points = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    points[[7, 33, 50]] = points[12]  # four that coincide: six pairs at no distance
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    every = sorted((apart[i, j], i, j) for i in range(60) for j in range(i + 1, 60))
    for count in (1, 6, 9, 40):
        pairs, lengths = closest_pairs(points, count)
        assert lengths == pytest.approx([length for length, _, _ in every[:count]], abs=1e-6)
        assert len({tuple(pair) for pair in pairs.tolist()}) == count
        assert all(apart[i, j] == pytest.approx(length, abs=1e-6) for (i, j), length in zip(pairs, lengths, strict=True))
    assert len(closest_pairs(points[:1], 3)[0]) == 0
    assert len(closest_pairs(points[:3], 8)[0]) == 3


def test_statistics_against_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (1_203, 3, 5, 4)).astype(np.uint8)
    data = make_dataset(images, np.arange(1_203) % 4, tuple("abcde"))
    found = pixel_statistics(data)
    assert found.images == 1_203
    assert found.mean == pytest.approx(images.mean(axis=(0, 2, 3)))
    assert found.std == pytest.approx(images.std(axis=(0, 2, 3)))
    assert found.white == pytest.approx((images == 255).mean(axis=(0, 2, 3)))
    assert np.abs(found.mean_image - images.mean(axis=0)).max() <= 0.5
    monkeypatch.setattr("vae.survey.MOST_VALUES", 60 * 7)
    assert pixel_statistics(data).mean == pytest.approx(images[[0, 200, 400, 601, 801, 1001, 1202]].mean(axis=(0, 2, 3)))
    assert class_counts(data).tolist() == [301, 301, 301, 300, 0]
    assert rows_of_class(data, 4).tolist() == []


def test_extremes_share_no_image() -> None:
    elbo = np.array([-3, -1, -4, -2, -5], np.float32)
    hardest, easiest = extremes(elbo, np.array([0, 1, 2, 4]), 8)
    assert (hardest.tolist(), easiest.tolist()) == ([4, 2], [1, 0])
    assert [part.tolist() for part in extremes(elbo, np.array([3]), 8)] == [[3], []]


def test_text_from_outside_is_no_markdown() -> None:
    assert plain("a*b_[x](y) :red[z]") == r"a\*b\_\[x\]\(y\) \:red\[z\]"


# --- uploads -------------------------------------------------------------------------------------------------------


def archive(count: int = 30, bad: int = 1, hostile: bool = False) -> bytes:
    """A zip file of pictures in three folders, some of them bad."""
    buffer = io.BytesIO()
    random = np.random.default_rng(0)
    with zipfile.ZipFile(buffer, "w") as made:
        for number in range(count):
            picture = io.BytesIO()
            Image.fromarray(random.integers(0, 256, (24, 20, 3)).astype(np.uint8)).save(picture, "PNG")
            made.writestr(f"pets/{('cat', 'dog', 'eel*')[number % 3]}/{number:02}.png", picture.getvalue())
        for number in range(bad):
            made.writestr(f"pets/cat/bad {number}.png", b"hello")
        if hostile:
            made.writestr("../../evil.png", b"hello")
    return buffer.getvalue()


def left(root: Path) -> list[str]:
    """What lies in a folder of data sets, and of the dashboard's in that for temporary files."""
    temporary = Path(tempfile.gettempdir()).glob("latent-explorer-*")
    return sorted([path.name for path in root.iterdir()] + [path.name for path in temporary])


def upload(app: AppTest, content: bytes, name: str = "My Pets!.zip") -> AppTest:
    app.file_uploader[0].set_value((name, content, "application/zip")).run()
    assert not app.exception
    return app


def named(app: AppTest, name: str) -> AppTest:
    next(element for element in app.text_input if element.label.startswith("Name")).set_value(name).run()
    return app


def wait(app: AppTest, is_so: Callable[[AppTest], object]) -> AppTest:
    """Run the page again and again, as its timer does in a browser."""
    deadline = time.monotonic() + 120
    while not is_so(app):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)
        assert not app.run().exception
    return app


def labels(app: AppTest) -> list[str]:
    return [button.label for button in app.button]


@pytest.fixture
def data(tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of data sets, and one of its own for temporary files; whatever was started is ended."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    jobs._started.clear()
    yield tiny_run.path.parents[1] / "data"
    for process in [*(process for process, _ in jobs._started.values()), *jobs._leaving]:
        process.kill()
        process.wait()
    jobs._started.clear()
    jobs._leaving.clear()


@pytest.fixture
def never_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Processes that are started do nothing, for longer than any test waits."""
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\nexec sleep 1000\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))


def test_an_upload_is_shown_then_kept_and_can_be_looked_at(open_app: OpenApp, data: Path) -> None:
    app = upload(open_app("dataset"), archive())
    text = said(app)
    expected = "Recognised: **a zip file of pictures**, 31 images, 3 classes, colour, 20 × 24 pixels (all were looked at)."
    assert expected in text
    assert r"cat 11, dog 10, eel\* 10" in text
    assert "cat/bad 0.png: Expected a PNG, JPEG, WebP, BMP or GIF picture, found text" in text
    assert "16 of them as the model will read them" in text
    name = next(element for element in app.text_input if element.label.startswith("Name"))
    assert name.value == "my-pets"
    for wrong in ("../evil", "A", "a b"):
        press(named(app, wrong), "Keep")
        told = f"a data set is named by lower-case letters, digits, '.', '_' and '-' (at most 64), got {wrong!r}"
        assert plain(told) in said(app)
    assert left(data) == ["tiny"]

    next(box for box in app.selectbox if box.label == "Size in pixels").set_value(32).run()
    next(box for box in app.checkbox if box.label == "Make them grey").set_value(True).run()
    press(named(app, "my-pets"), "Keep")
    assert f"Importing **{plain('my-pets')}**" in said(app)
    wait(app, lambda app: "Dismiss" in labels(app))
    assert f"Kept as **{plain('my-pets')}**: 25 train, 2 validation, 3 test images of 32 × 32 pixels" in said(app)
    assert "python -m vae train --dataset my-pets --run my-pets" in said(app)
    assert "30 colour images were turned grey." in said(app)
    assert [len(load_dataset("my-pets", split)) for split in ("train", "validation", "test")] == [25, 2, 3]
    assert load_dataset("my-pets", "test").class_names == ("cat", "dog", "eel*")
    assert load_dataset("my-pets", "train").image_shape == (1, 32, 32)
    assert [path for path in (data / ".upload-my-pets").iterdir() if path.is_dir()] == []
    press(app, "Dismiss")
    assert left(data) == ["my-pets", "tiny"]

    chooser = next(box for box in app.selectbox if box.label == "Data set")
    assert chooser.options == ["my-pets", "tiny"]
    chooser.set_value("my-pets").run()
    assert not app.exception
    assert "**25 train, 2 validation, 3 test** images of 32 × 32 pixels, grey, 3 classes" in said(app)
    assert "This needs a run of my-pets: choose one in the sidebar, or train one" in said(app)
    press(app, "Keep")
    assert plain("a data set of that name is there already: choose another name") in said(app)
    assert left(data) == ["my-pets", "tiny"]


def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look without a process of its own, where a test is about something else."""
    monkeypatch.setattr("dashboard.uploads.look_apart", take_look)


@pytest.mark.usefixtures("never_ends")
def test_a_running_import_is_found_by_another_tab_not_started_twice_and_cancelled(
    open_app: OpenApp, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_process(monkeypatch)
    app = upload(open_app("dataset"), archive(9, bad=0))
    press(app, "Keep")
    assert "Cancel" in labels(app)
    press(app, "Keep")
    assert plain("my-pets: a data set of that name is being imported: wait for it, or cancel it") in said(app)
    assert len(list(data.glob(".upload-my-pets/*/*.zip"))) == 1
    again = open_app("dataset")  # another tab, or this one after a refresh
    assert f"Importing **{plain('my-pets')}**" in said(again)
    with monkeypatch.context() as patch:  # a visitor who may look alone
        patch.setenv("LATENT_EXPLORER_ALLOW_CHANGES", "ann@example.org")
        assert "Cancel" not in labels(open_app("dataset"))
    press(again, "Cancel")
    for tab in (again, app):
        wait(tab, lambda tab: "Dismiss" in labels(tab))
        assert f"The import of **{plain('my-pets')}** was cancelled; nothing of it was kept." in said(tab)
    press(app, "Dismiss")
    assert left(data) == ["tiny"]
    assert "Dismiss" not in labels(again.run())


def test_what_a_killed_or_a_refused_import_leaves_is_cleared_and_told(open_app: OpenApp, data: Path) -> None:
    for name, problem in (("killed", ""), ("refused", "*The* disk is full.")):
        path = stage_upload(name, "a.zip", b"...")
        with suppress(RuntimeError), run_job(upload_folder(name), {}):
            raise RuntimeError(problem)
        assert path.exists()
    status = data / ".upload-killed" / STATUS_FILE
    status.write_text(status.read_text().replace('"failed"', '"running"'))
    (data / ".importing-killed" / "packed").mkdir(parents=True)
    about_to_begin = stage_upload("soon", "a.zip", b"...")
    forgotten = stage_upload("forgotten", "a.zip", b"...")
    os.utime(forgotten.parents[1], (1e9, 1e9))
    app = open_app("dataset")
    assert "The import of **killed** was not finished" in said(app)
    assert "**refused** could not be imported; nothing of it was kept." in said(app)
    assert "*The* disk is full." in [text.value for text in app.text]  # not as Markdown
    assert [path.relative_to(data) for path in data.rglob("*.zip")] == [about_to_begin.relative_to(data)]
    press(press(app, "Dismiss"), "Dismiss")
    assert left(data) == [".upload-soon", "tiny"]


def test_progress_in_words() -> None:
    status = JobStatus("running", 7, 0.0, 0.0, stage="importing")
    assert progress_words(status) == "Importing"
    half = replace(status, done=1_500, total=3_000, rate=10_234.5)
    assert progress_words(half) == "1,500 of 3,000 images, 10,234 a second, 1 s left"
    assert progress_words(replace(half, rate=2.5)) == "1,500 of 3,000 images, 2.5 a second, 10 min 00 s left"
    assert progress_words(replace(half, rate=0.0)) == "1,500 of 3,000 images"


def test_a_hostile_upload_gets_a_sentence_and_leaves_nothing(
    open_app: OpenApp, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_app("dataset")
    upload(app, archive(hostile=True), "../../a.zip")
    told = "a.zip: expected names inside the archive, found '../../evil.png', which leads out of it: refused"
    assert plain(told) in said(app)
    assert "Keep" not in labels(app)
    assert left(data) == ["tiny"]
    monkeypatch.setattr("vae.preview.MOST_SECONDS", 0.05)
    upload(app, archive(), "b.zip")
    assert plain("the file could not be read: it was looked at for") in app.error[0].value
    assert left(data) == ["tiny"]


def pictures(folder: Path) -> None:
    """Thirty pictures of 24 x 20 in three folders."""
    with zipfile.ZipFile(io.BytesIO(archive(bad=0))) as made:
        made.extractall(folder)


def choose(app: AppTest, name: str) -> AppTest:
    next(box for box in app.selectbox if box.label == "Data set").set_value(name).run()
    assert not app.exception
    return app


def test_a_folder_under_data_is_imported_where_it_lies(open_app: OpenApp, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures(data / "own")
    app = choose(open_app("dataset"), "own")
    assert "Data set own can't be shown." in said(app)
    with monkeypatch.context() as patch:  # a visitor who may look alone
        patch.setenv("LATENT_EXPLORER_ALLOW_CHANGES", "ann@example.org")
        assert "Import it" not in labels(choose(open_app("dataset"), "own"))
    press(app, "Import it")
    wait(app, lambda app: "Dismiss" in labels(app))
    assert "Kept as **own**: 24 train, 2 validation, 4 test images of 20 × 24 pixels" in said(app)
    assert "**24 train, 2 validation, 4 test** images of 20 × 24 pixels, RGB, 3 classes" in said(app)
    press(app, "Dismiss")
    assert left(data) == ["own", "tiny"]
    assert sorted(path.name for path in (data / "own").iterdir()) == ["packed", "pets"]


@pytest.mark.usefixtures("never_ends")
def test_the_import_of_a_folder_is_the_command_and_can_be_cancelled(open_app: OpenApp, data: Path) -> None:
    pictures(data / "own")
    app = choose(open_app("dataset"), "own")
    press(app, "Import it")
    ((process, _),) = jobs._started.values()
    assert process.args[1:] == ["-m", "vae", "import", str(data / "own"), "--name", "own"]  # type: ignore[index]
    assert "It is being imported" in said(app)
    assert "Import it" not in labels(app)
    with pytest.raises(JobError, match="another process is at work here"):
        jobs.start_import_in_place("own")
    press(app, "Cancel")
    wait(app, lambda app: "Dismiss" in labels(app))
    assert "The import of **own** was cancelled; started again, it goes on." in said(app)
    press(app, "Dismiss")
    assert "Import it" in labels(app)
    assert left(data) == ["own", "tiny"]


def test_a_data_set_that_cannot_be_read_says_why(open_app: OpenApp, tiny_run: Run) -> None:
    root = tiny_run.path.parents[1] / "data"
    (root / "torn").mkdir()
    (root / "torn" / "train.npz").write_bytes(b"PK\x03\x04 torn")
    app = open_app("dataset")
    next(box for box in app.selectbox if box.label == "Data set").set_value("torn").run()
    assert not app.exception
    assert "Data set torn can't be shown." in said(app)
    assert plain("python -m vae import") in said(app)
