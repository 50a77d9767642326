"""The projection panel on a page of its own, without a browser; the maps are made by real processes."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from dashboard import jobs
from dashboard.projection_panel import duration_words, map_words, progress_words
from vae import MapConfig, Run, build_model
from vae.config import to_json
from vae.jobs import JobStatus, job_status, run_job

KEPT = "UMAP 2-D, 15 neighbours, min. distance 0.1, euclidean, seed 0"


def page() -> None:
    """The panel, or the empty state where the default map is missing; what was opened is written below."""
    import streamlit as st

    from dashboard.projection_panel import no_map, projection_panel
    from vae import MapConfig, RunError, open_run

    run = open_run("tiny-run")
    shown = st.session_state.get("shown", MapConfig())

    def on_open(config: MapConfig) -> None:
        st.session_state["shown"] = config
        st.session_state["opened"] = st.session_state.get("opened", 0) + 1

    try:
        run.load_map(shown)
    except RunError as error:
        no_map(run, str(error), on_open)
    else:
        projection_panel(run, shown, on_open)


@pytest.fixture
def app(tiny_run: Run) -> Iterator[AppTest]:
    jobs._started.clear()
    yield AppTest.from_function(page, default_timeout=60).run()
    for process in [*(process for process, _ in jobs._started.values()), *jobs._leaving]:
        process.kill()
        process.wait()
    jobs._started.clear()
    jobs._leaving.clear()
    st.cache_data.clear()


def press(app: AppTest, label: str) -> AppTest:
    (button,) = [button for button in app.button if button.label == label]
    button.click().run()
    assert not app.exception
    return app


def wait(app: AppTest, is_so: Callable[[AppTest], object]) -> AppTest:
    """Run the page again and again, as its timer does in a browser."""
    deadline = time.monotonic() + 120
    while not is_so(app):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
        assert not app.run().exception
    return app


def labels(app: AppTest) -> list[str]:
    return [button.label for button in app.button]


def opened(app: AppTest) -> MapConfig | None:
    return app.session_state["shown"] if "shown" in app.session_state else None  # noqa: SIM401 - it has no get


def test_what_the_panel_shows_first(app: AppTest) -> None:
    assert not app.exception
    assert labels(app) == [f"{KEPT} (shown)", "Open, it is kept already"]
    assert app.button[0].disabled
    assert [widget.label for widget in app.number_input] == ["Neighbours", "Minimum distance", "Seed"]
    assert app.number_input[0].max == 23  # of 24 images
    assert [widget.label for widget in app.selectbox] == ["Metric"]
    app.radio(key="map-form-tiny-run-method").set_value("tsne").run()
    assert [widget.label for widget in app.number_input] == ["Perplexity", "Seed"]
    assert not app.selectbox
    app.radio(key="map-form-tiny-run-method").set_value("pca").run()
    assert not app.number_input
    assert labels(app)[-1] == "Start"
    assert all(widget.help for widget in [*app.number_input, *app.selectbox])


def test_a_map_is_made_and_opened_and_the_next_time_opened_at_once(app: AppTest, tiny_run: Run) -> None:
    config = MapConfig(method="pca", components=3)

    def ask() -> None:
        app.radio(key="map-form-tiny-run-method").set_value("pca").run()
        app.radio(key="map-form-tiny-run-components").set_value(3).run()

    ask()
    press(app, "Start")
    assert "Cancel" in labels(app)
    assert "Start" not in labels(app)
    assert not app.radio  # parameters are set before it starts
    wait(app, lambda app: opened(app) == config)
    assert app.session_state["opened"] == 1
    assert "PCA 3-D (shown)" in labels(app)
    file = tiny_run._map_file(config)
    made = file.stat().st_mtime_ns
    press(app, KEPT)
    assert opened(app) == MapConfig()
    ask()
    press(app, "Open, it is kept already")
    assert opened(app) == config
    assert "Cancel" not in labels(app)
    assert file.stat().st_mtime_ns == made


def test_a_map_is_cancelled(app: AppTest, tiny_run: Run) -> None:
    asked = MapConfig(method="tsne", perplexity=5.0, seed=4, components=3)
    app.radio(key="map-form-tiny-run-method").set_value("tsne").run()
    for name, value in (("perplexity", 5.0), ("seed", 4)):
        app.number_input(key=f"map-form-tiny-run-{name}").set_value(value)
    app.radio(key="map-form-tiny-run-components").set_value(3).run()
    press(app, "Start")
    wait(app, lambda _: job_status(tiny_run.maps_folder))
    status = job_status(tiny_run.maps_folder)
    assert status is not None
    os.kill(status.pid, signal.SIGSTOP)  # it would be done before a person could look
    try:
        assert status.subject == to_json(asked)
        assert f"Making {map_words(asked)}" in [text.value for text in app.run().markdown]
        again = AppTest.from_function(page, default_timeout=60).run()  # another tab, or this one after a refresh
        assert "Cancel" in labels(again)
        press(again, "Cancel")
    finally:
        os.kill(status.pid, signal.SIGCONT)
    wait(again, lambda tab: tab.info)
    for tab in (wait(app, lambda tab: tab.info), again):
        assert tab.info[0].value == "The map was cancelled; nothing of it was kept."
        assert opened(tab) is None
        assert tiny_run.list_maps() == [MapConfig()]
    values = [app.number_input(key=f"map-form-tiny-run-{name}").value for name in ("perplexity", "seed")]
    assert values == [5.0, 4]  # to be started again, or changed
    press(app, "Dismiss")
    assert not app.info
    assert not again.run().info


def test_why_the_last_map_was_not_made_is_told(app: AppTest, tiny_run: Run) -> None:
    with pytest.raises(RuntimeError), run_job(tiny_run.maps_folder, {}):
        raise RuntimeError("![The disk](http://elsewhere.example/a.png) is full.")
    assert app.run().error[0].value == "The map could not be made."
    assert app.text[0].value == "![The disk](http://elsewhere.example/a.png) is full."  # not as Markdown
    file = tiny_run.maps_folder / ".job.json"
    file.write_text(file.read_text().replace('"failed"', '"running"'))
    assert "its process was killed, or the machine went down" in app.run().warning[0].value


def test_a_run_without_a_map_offers_the_one_button(app: AppTest, tiny_run: Run) -> None:
    shutil.rmtree(tiny_run.maps_folder)
    app.run()
    assert labels(app) == [f"Make the map: {KEPT}"]
    assert "not there: make it with 'python -m vae map tiny-run'" in app.text[0].value
    few = MapConfig(method="pca")
    encodings = tiny_run.load_encodings()
    tiny_run.save_encodings(type(encodings)(*(getattr(encodings, name)[:12] for name in encodings.__dataclass_fields__)))
    app.run()
    press(app, "Make the map: PCA 2-D")
    wait(app, lambda app: opened(app) == few)
    assert tiny_run.load_map(few).coordinates.shape == (12, 2)
    assert "PCA 2-D (shown)" in labels(app)


def test_a_map_of_other_weights_is_said_and_offered_anew(app: AppTest, tiny_run: Run) -> None:
    tiny_run.save_weights(build_model(tiny_run.config.model, 99))
    app.run()
    assert "made from other weights or test data than this run's" in app.text[0].value
    assert "made from other weights or test data" in app.error[0].value  # its encodings too: there is nothing to map yet
    assert labels(app) == []
    tiny_run.save_encodings(_encodings(tiny_run))
    app.run()
    assert labels(app) == [f"Make the map: {KEPT}"]
    pca = MapConfig(method="pca")
    tiny_run.save_map(np.zeros((24, 2), np.float32), pca)
    app.session_state["shown"] = pca
    app.run()
    assert labels(app)[:2] == ["PCA 2-D (shown)", f"Make anew: {KEPT}"]
    assert "belong to other weights or test data" in " ".join(caption.value for caption in app.caption)


def _encodings(run: Run) -> object:
    """What evaluating the present weights gives, without waiting for it: the numbers don't matter here."""
    from vae import Encodings

    random = np.random.default_rng(0)
    wide, narrow = (24, run.config.model.latent), 24
    return Encodings(*(random.normal(size=shape).astype(np.float32) for shape in (wide, wide, narrow, narrow)))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (MapConfig(), KEPT),
        (
            MapConfig(metric="cosine", components=3, min_dist=0),
            KEPT.replace("2-D", "3-D").replace("0.1", "0").replace("euclidean", "cosine"),
        ),
        (MapConfig(method="tsne", seed=3), "t-SNE 2-D, perplexity 30, seed 3"),
        (MapConfig(method="pca", components=3), "PCA 3-D"),
    ],
)
def test_parameters_in_words(config: MapConfig, words: str) -> None:
    assert map_words(config) == words


def test_progress_in_words() -> None:
    begun = JobStatus("running", 7, 0.0, 0.0, stage="laying the points out")
    assert progress_words(begun) == "Laying the points out"
    half = JobStatus("running", 7, 0.0, 0.0, stage="laying the points out", done=250, total=1000, rate=12.5)
    assert progress_words(half) == "Laying the points out: 250 of 1,000 steps, 12.5 a second, 1 min 00 s left"
    assert [duration_words(seconds) for seconds in (0.0, 0.2, 59.0, 59.1, 125.0)] == [
        "0 s",
        "1 s",
        "59 s",
        "1 min 00 s",
        "2 min 05 s",
    ]
