"""The page Runs: the table, what can be done to a run, and runs beside each other."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.components.latent_map import Select, commit_key
from vae import Run, list_runs, open_run, pack_run
from vae.files import take_lock

OpenApp = Callable[..., AppTest]


def said(app: AppTest) -> str:
    """All sentences on the page, as they are read: without the marks that keep names from being Markdown."""
    groups = (app.markdown, app.caption, app.info, app.error, app.warning, app.success)
    return "\n".join(element.value for group in groups for element in group).replace("\\", "")


def find(group: Any, label: str) -> Any:
    return next(element for element in group if element.label.startswith(label))


@pytest.fixture
def two_runs(tiny_run: Run) -> Run:
    """``tiny-run`` and ``second``, whose report is another."""
    shutil.copytree(tiny_run.path, tiny_run.path.parent / "second")
    report = tiny_run.reports()["samples=1,seed=0"]
    open_run("second").save_report("samples=1,seed=0", report | {"elbo": report["elbo"] - 1.5, "active_units": 3})
    return tiny_run


def test_the_table_says_what_the_runs_are(open_app: OpenApp, tiny_run: Run) -> None:
    app = open_app("runs")
    assert not app.exception
    (table,) = (element.value for element in app.dataframe)
    row = table.iloc[0].to_dict()
    report = tiny_run.reports()["samples=1,seed=0"]
    assert (row["Run"], row["State"], row["Data set"], row["Preset"]) == ("tiny-run", "finished", "tiny", "fast")
    assert (row["Latent"], row["Epochs"], row["Active"]) == (3, "2 of 2", report["active_units"])
    assert row["Test −ELBO"] == pytest.approx(-report["elbo"])
    assert "Compare" not in [element.value for element in app.subheader]


def test_a_run_that_cannot_be_opened_is_told_and_the_others_stay(open_app: OpenApp, two_runs: Run) -> None:
    (two_runs.path / "config.json").write_text("{")
    app = open_app("runs", run="second")
    assert not app.exception
    assert "config.json: expected a JSON file" in said(app)
    assert app.dataframe[0].value["Run"].tolist() == ["second"]


def test_rename_and_delete_which_is_asked_twice(open_app: OpenApp, two_runs: Run) -> None:
    app = open_app("runs")
    find(app.selectbox, "Run to work with").set_value("tiny-run").run()
    find(app.text_input, "New name").set_value("Third!").run()
    find(app.button, "Rename").click().run()
    assert "a run is named by lower-case letters" in said(app)
    find(app.text_input, "New name").set_value("third").run()
    find(app.button, "Rename").click().run()
    assert "Run tiny-run is now called third." in said(app)
    assert sorted(list_runs()) == ["second", "third"]
    find(app.button, "Delete …").click().run()
    assert sorted(list_runs()) == ["second", "third"]
    find(app.button, "Keep it").click().run()
    find(app.button, "Delete …").click().run()
    find(app.button, "Delete third for good").click().run()
    assert not app.exception
    assert "Run third is deleted." in said(app)
    assert list_runs() == ["second"]


def test_a_running_one_is_not_deleted_and_the_last_one_can_be(open_app: OpenApp, tiny_run: Run) -> None:
    app = open_app("runs")
    with take_lock(tiny_run.path / ".lock"):
        find(app.button, "Delete …").click().run()
        find(app.button, "Delete tiny-run for good").click().run()
        assert "this run is being trained: wait for it, or stop it" in said(app)
    find(app.button, "Delete tiny-run for good").click().run()
    assert not app.exception
    assert "There is no run yet" in said(app)


def test_settings_are_duplicated_into_the_form(open_app: OpenApp, tiny_run: Run) -> None:
    app = open_app("runs")
    find(app.button, "New run with these settings").click().run()
    app.switch_page("views/train.py").run()
    assert find(app.selectbox, "Settings").value == "run tiny-run"
    assert find(app.number_input, "Epochs").value == 2


def test_a_run_is_imported_or_refused_with_a_sentence(open_app: OpenApp, tiny_run: Run) -> None:
    buffer = io.BytesIO()
    pack_run(tiny_run, buffer)
    app = open_app("runs")
    app.file_uploader[0].upload("Mine.zip", buffer.getvalue(), "application/zip").run()
    assert find(app.text_input, "Name it").value == "mine"
    find(app.button, "Import").click().run()
    assert not app.exception
    assert "Run mine is imported." in said(app)
    assert sorted(list_runs()) == ["mine", "tiny-run"]
    find(app.text_input, "Name it").set_value("tiny-run").run()
    find(app.button, "Import").click().run()
    assert "Not imported." in said(app)
    app.file_uploader[0].upload("evil.zip", b"PK nonsense", "application/zip").run()
    find(app.button, "Import").click().run()
    assert "Not imported. upload.zip: expected a whole zip file" in said(app)


def test_nothing_changes_where_nothing_may(open_app: OpenApp, tiny_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENT_EXPLORER_ALLOW_CHANGES", "ann@example.org")
    app = open_app("runs")
    labels = [button.label for button in app.button]
    assert not {"Rename", "Delete …", "Import"} & set(labels)
    assert find(app.button, "New run with these settings").disabled
    assert not app.file_uploader


def compared(open_app: OpenApp, section: str) -> AppTest:
    app = open_app("runs")
    find(app.multiselect, "Runs to compare").set_value(["tiny-run", "second"]).run()
    app.session_state["runs-section"] = section
    app.run()
    assert not app.exception
    return app


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ("Curves", "On each run's own validation images"),
        ("KL spectra", "at the best epoch of each run, the strongest first"),
        ("Pictures", "each decoded from its posterior mean"),
    ],
)
def test_every_comparison_says_what_it_shows(open_app: OpenApp, two_runs: Run, section: str, sentence: str) -> None:
    assert sentence in said(compared(open_app, section))


def test_differences_are_from_the_first_run(open_app: OpenApp, two_runs: Run) -> None:
    table = compared(open_app, "Numbers").dataframe[1].value.set_index("figure")
    assert table.loc["−ELBO (nats per image)", "second − tiny-run"] == "+1.50"
    active = two_runs.reports()["samples=1,seed=0"]["active_units"]
    assert table.loc["active units", "second − tiny-run"] == f"{3 - active:+}"
    assert table.loc["latent dimensions", "second − tiny-run"] == "+0"


def test_a_selection_on_one_map_stands_on_the_other(open_app: OpenApp, two_runs: Run) -> None:
    app = compared(open_app, "Maps")
    assert "the same images light up on the other" in said(app)
    key = commit_key(f"runs-map-tiny-run-{two_runs.weights_digest()}")
    rows = {"kind": "select", "clicked": [2, 5, 9], "polygon": None, "hidden": [], "primary": 9, "id": "test-1"}
    app.session_state[key] = {"commit": rows}
    app.run()
    assert not app.exception
    assert "**3 of 24 test images are selected** on both maps." in said(app)
    kept = app.session_state["runs-selection"]
    assert isinstance(kept, Select)
    assert kept.rows == (2, 5, 9)
    app.session_state[key] = {"commit": {"kind": "clear", "id": "test-2"}}
    app.run()
    assert app.session_state["runs-selection"] is None


def test_maps_of_other_images_are_not_linked(open_app: OpenApp, two_runs: Run) -> None:
    config = json.loads((two_runs.path.parent / "second" / "config.json").read_text())
    config["data_digests"]["test"] = "0" * 16
    (two_runs.path.parent / "second" / "config.json").write_text(json.dumps(config))
    assert "Run second is left out." in said(compared(open_app, "Maps"))
