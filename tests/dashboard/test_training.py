"""Trainings in real processes, and the page Train: the form that is made from the configurations, and what it shows."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.runtime.scriptrunner import ScriptRunContext
from streamlit.testing.v1 import AppTest

from dashboard import jobs
from dashboard.training import monitor
from dashboard.training.process import (
    forget_training,
    list_trainings,
    resume_training,
    start_training,
    stop_training,
    watch_training,
)
from vae import ModelConfig, Run, RunError, TrainConfig, import_dataset, list_options, open_run, read_history
from vae.config import to_json
from vae.jobs import JobError
from vae.runs import lock_run, runs_root

OpenApp = Callable[..., AppTest]
MODEL = ModelConfig(channels=1, height=8, width=8, latent=3, widths=(4,), blocks=0, hidden=8)
SHORT = TrainConfig(epochs=2, batch_size=16, precision="fp32")
LONG = dataclasses.replace(SHORT, epochs=100_000)
"""Longer than any test waits."""


@pytest.fixture(autouse=True)
def nothing_is_left_running() -> Iterator[None]:
    jobs._started.clear()
    yield
    for started in [*(started for started, _ in jobs._started.values()), *jobs._leaving]:
        started.kill()
        started.wait()
    jobs._started.clear()
    jobs._leaving.clear()


def until(is_so: Callable[[], object]) -> None:
    """Wait for something that is about to happen."""
    deadline = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def state(name: str) -> str | None:
    status = watch_training(name)
    return status and status.state


def begin(name: str, train: TrainConfig = LONG, seed: int = 0) -> None:
    start_training(name, "tiny", "fast", MODEL, dataclasses.replace(train, seed=seed), "cpu")


def is_under_way(name: str) -> bool:
    status = watch_training(name)
    return status is not None and status.state == "running" and status.epoch > 1


# --- processes -----------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_training_from_its_start_to_its_end_with_every_setting_of_the_form(workspace: object) -> None:
    assert watch_training("new") is None
    model = dataclasses.replace(MODEL, likelihood="gaussian", widths=(4, 6), blocks=1, latent=5)
    train = dataclasses.replace(SHORT, schedule="constant", weight_decay=0.25, channels_last=False, seed=7)
    start_training("new", "tiny", "notes", model, train, "cpu")
    first = watch_training("new")
    assert first is not None
    assert (first.state, first.total_steps) == ("running", 0)
    assert "new" in list_trainings()
    until(lambda: state("new") != "running")
    assert state("new") == "finished"
    run = open_run("new")
    assert (run.config.model, run.config.train) == (model, train)
    assert (run.config.dataset, run.config.preset) == ("tiny", "notes")
    assert len(read_history(run)) == 2
    with pytest.raises(JobError, match="run (named new exists|new is being trained).* choose another name"):
        begin("new")


@pytest.mark.long
def test_stop_saves_and_resume_ends_where_an_uninterrupted_training_ends(workspace: object) -> None:
    train = dataclasses.replace(SHORT, epochs=150)
    begin("stopped", train)
    until(lambda: is_under_way("stopped"))
    stop_training("stopped")
    until(lambda: state("stopped") != "running")
    assert state("stopped") == "stopped"
    stored = open_run("stopped").load_state()
    assert stored is not None
    assert 0 < stored[1]["step"] < 600
    resume_training("stopped", "cpu")
    assert state("stopped") == "running"
    begin("whole", train)
    until(lambda: {state("stopped"), state("whole")} == {"finished"})
    assert open_run("stopped").weights_digest() == open_run("whole").weights_digest()
    stop_training("stopped")  # nobody is there: nothing happens
    assert state("stopped") == "finished"


@pytest.mark.long
def test_a_killed_training_shows_as_interrupted_and_resumes(workspace: object) -> None:
    begin("killed")
    until(lambda: is_under_way("killed"))
    status = watch_training("killed")
    assert status is not None
    os.kill(status.pid, signal.SIGKILL)
    until(lambda: state("killed") != "running")
    assert state("killed") == "interrupted"
    jobs._started.clear()  # the dashboard starts anew
    assert state("killed") == "interrupted"
    resume_training("killed", "cpu")
    until(lambda: (now := watch_training("killed")) and now.epoch > status.epoch)
    stop_training("killed")
    until(lambda: state("killed") == "stopped")


def test_of_two_who_start_the_same_run_one_wins_and_the_other_is_told(workspace: object) -> None:
    told: list[str] = []

    def visitor() -> None:
        try:
            begin("same")
        except JobError as error:
            told.append(str(error))

    visitors = [threading.Thread(target=visitor) for _ in range(4)]
    for thread in visitors:
        thread.start()
    for thread in visitors:
        thread.join()
    assert told == ["run same is being trained already, perhaps by another visitor: watch it, or choose another name"] * 3
    until(lambda: is_under_way("same"))
    with pytest.raises(JobError, match="being trained already"):
        resume_training("same", "cpu")


DASHBOARD = """
import json, sys
from dashboard.training.process import resume_training, start_training
from vae import ModelConfig, TrainConfig
from vae.config import from_json
from vae.jobs import JobError
print("ready", flush=True)
sys.stdin.readline()
try:
    if sys.argv[1] == "resume":
        resume_training("same", "cpu")
    else:
        model, train = from_json(ModelConfig, json.loads(sys.argv[2])), from_json(TrainConfig, json.loads(sys.argv[3]))
        start_training("same", "tiny", "fast", model, train, "cpu")
    print("started", flush=True)
except JobError as error:
    print(error, flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("action", ["start", "resume"])
def test_of_two_dashboards_one_wins_and_the_other_is_told(workspace: object, action: str) -> None:
    if action == "resume":
        begin("same")
        until(lambda: is_under_way("same"))
        stop_training("same")
        until(lambda: state("same") == "stopped")
    command = [sys.executable, "-c", DASHBOARD, action, *(json.dumps(to_json(config)) for config in (MODEL, LONG))]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with contextlib.ExitStack() as stack:
        both = [stack.enter_context(subprocess.Popen(command, **pipes)) for _ in range(2)]  # type: ignore[call-overload]
        stack.callback(lambda: [dashboard.kill() for dashboard in both])
        assert [dashboard.stdout.readline() for dashboard in both] == ["ready\n"] * 2
        for dashboard in both:
            dashboard.stdin.write("\n")
            dashboard.stdin.flush()
        told = sorted(dashboard.stdout.readline() for dashboard in both)
        taken = "run same is being trained already, perhaps by another visitor: watch it, or choose another name\n"
        assert told == [taken, "started\n"]
        until(lambda: state("same") == "running")
        stop_training("same")
        until(lambda: state("same") == "stopped" and not jobs.is_held(runs_root() / ".jobs" / "same"))


def test_a_run_that_another_process_trains_is_not_started(tiny_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "LEAVING_SECONDS", 0.0)
    with lock_run("tiny-run"), pytest.raises(JobError, match="run tiny-run is being trained already"):
        resume_training("tiny-run", "cpu")


def test_a_start_that_comes_to_nothing_says_why(workspace: object) -> None:
    start_training("lost", "nowhere", "fast", MODEL, SHORT, "cpu")
    until(lambda: state("lost") != "running")
    status = watch_training("lost")
    assert status is not None
    assert status.state == "failed"
    assert "nowhere: no test images there" in str(status.error)
    assert list_trainings() == ["lost"]
    forget_training("lost")
    assert list_trainings() == []
    with pytest.raises(RunError, match="a run is named by"):
        begin("../up")


# --- the form ------------------------------------------------------------------------------------------------------


def said(app: AppTest) -> str:
    groups = (app.markdown, app.caption, app.info, app.error, app.warning, app.text, app.success)
    return "\n".join(element.value for group in groups for element in group)


def find(group: Any, label: str) -> Any:
    return next(element for element in group if element.label.startswith(label))


def labels(app: AppTest) -> list[str]:
    return [e.label for group in (app.number_input, app.selectbox, app.text_input) for e in group]


def test_the_form_has_a_control_for_every_field_with_its_range_and_help(open_app: OpenApp, workspace: object) -> None:
    app = open_app("train")
    assert not app.exception
    for option in (*list_options(ModelConfig), *list_options(TrainConfig)):
        assert option.title in labels(app)
    latent = find(app.number_input, "Latent")
    assert (latent.min, latent.max, latent.help) == (1, 1024, "Number of latent dimensions. From 1 to 1,024.")
    assert find(app.selectbox, "Data set").options == ["tiny"]
    assert "parameters** for images of 8 × 8 × 1; 10 epochs of 1 steps on 55 training images" in said(app)
    assert "That is 10 gradient steps in all, too few to learn much" in said(app)


def test_a_field_that_comes_later_has_a_control(open_app: OpenApp, workspace: object, monkeypatch: pytest.MonkeyPatch) -> None:
    from dashboard.training import form

    fields = [("gamma", float, 1.0), ("share", float | None, None)]
    later = dataclasses.make_dataclass("Later", fields, bases=(TrainConfig,), frozen=True)
    options = list_options(TrainConfig)
    number = next(option for option in options if option.name == "learning_rate")
    extra = [dataclasses.replace(number, name=name, low=0.0, high=9.0, help="Later.") for name in ("gamma", "share")]
    preset = form.PRESETS["fast"]
    changed = dataclasses.replace(preset, train=later(**dataclasses.asdict(preset.train)))
    monkeypatch.setitem(form.PRESETS, "fast", changed)
    monkeypatch.setattr(form, "list_options", lambda kind: (*options, *extra) if kind is later else list_options(kind))
    app = open_app("train")
    assert not app.exception
    assert find(app.number_input, "Gamma").value == 1.0
    assert find(app.number_input, "Share").value is None


def test_what_the_form_refuses_is_a_sentence(open_app: OpenApp, workspace: object) -> None:
    app = open_app("train")
    find(app.text_input, "Widths").set_value("4, many").run()
    assert "widths must be whole numbers with commas between them, such as 32, 64, got '4, many'" in said(app)
    find(app.text_input, "Widths").set_value("4, 4, 4, 4").run()
    assert "height must be divisible by 16" in said(app)
    assert [button.label for button in app.button if button.label.startswith("Start")] == []
    find(app.text_input, "Widths").set_value("4, 4").run()
    find(app.text_input, "Name of the run").set_value("../up").run()
    find(app.button, "Start").click().run()
    assert "a run is named by lower-case letters" in said(app)


def test_the_settings_of_a_run_stand_in_the_form(open_app: OpenApp, tiny_run: Run) -> None:
    app = open_app("train")
    find(app.selectbox, "Settings").set_value("run tiny-run").run()
    assert not app.exception
    assert find(app.number_input, "Latent").value == 3
    assert find(app.number_input, "Epochs").value == 2
    assert "images/s (run tiny-run trained the same model on cpu" in said(app)


def test_the_form_begins_with_the_stages_that_the_images_ask_for(open_app: OpenApp, workspace: object, tmp_path: Path) -> None:
    np.save(tmp_path / "own.npy", np.zeros((12, 64, 64, 3), np.uint8))
    import_dataset(tmp_path / "own.npy", "large")
    app = open_app("train")
    find(app.selectbox, "Data set").set_value("large").run()
    assert not app.exception
    assert find(app.text_input, "Widths").value == "16, 32, 64"
    assert "for images of 64 × 64 × 3" in said(app)


@pytest.mark.long
def test_a_time_is_measured_when_asked_for(open_app: OpenApp, workspace: object) -> None:
    app = open_app("train")
    assert "its time isn't known: time it" in said(app)
    find(app.text_input, "Widths").set_value("2, 2").run()
    find(app.button, "Time it here").click().run()
    assert "images/s (timed here on random images, just now)" in said(app)


def test_there_is_no_form_without_data_and_none_where_nothing_may_be_changed(
    open_app: OpenApp, workspace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATENT_EXPLORER_ALLOW_CHANGES", "ann@example.org")
    app = open_app("train")
    assert "no sign-in is configured" in said(app)
    assert not app.number_input
    monkeypatch.delenv("LATENT_EXPLORER_ALLOW_CHANGES")
    shutil.rmtree(workspace.data / "tiny")
    assert "There is no data set under" in said(open_app("train"))


# --- the page around a training ------------------------------------------------------------------------------------


def test_start_watch_stop_and_resume_on_the_page(open_app: OpenApp, workspace: object, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_app("train")
    find(app.text_input, "Widths").set_value("2, 2").run()
    find(app.number_input, "Epochs").set_value(100_000).run()
    find(app.text_input, "Name of the run").set_value("mine").run()
    find(app.button, "Start").click().run()
    assert not app.exception
    assert "Run **mine** is being trained" in said(app)
    until(lambda: is_under_way("mine"))
    second = open_app("train")  # another tab finds it by itself
    assert "Run **mine** is being trained" in said(second)
    assert "KL on the validation images" in said(second)
    seen, signature = iter([("before",), ("after",)]), monitor._signature  # an epoch ends just as it is pressed
    monkeypatch.setattr(monitor, "_signature", lambda *given: next(seen, None) or signature(*given))
    find(second.button, "Stop and save").click().run()
    assert next(seen, None) is None
    until(lambda: state("mine") == "stopped")
    app.run()
    assert "Run **mine** was stopped; its last step is saved" in said(app)
    find(app.button, "Resume").click().run()
    assert "Run **mine** is being trained" in said(app)
    stop_training("mine")


def test_of_two_visitors_who_press_start_one_is_told_on_the_page(open_app: OpenApp, workspace: object) -> None:
    first, second = open_app("train"), open_app("train")
    for app in (first, second):
        find(app.text_input, "Widths").set_value("2, 2").run()
        find(app.number_input, "Epochs").set_value(100_000).run()
        assert find(app.text_input, "Name of the run").value == "tiny-fast"
    find(first.button, "Start").click().run()
    assert "Run **tiny-fast** is being trained" in said(first)
    find(second.button, "Start").click().run()
    assert not second.exception
    told = "run tiny-fast is being trained already, perhaps by another visitor: watch it, or choose another name"
    assert [error.value for error in second.error] == [told]
    assert find(second.text_input, "Name of the run").value == "tiny-fast"  # what was typed stays
    until(lambda: is_under_way("tiny-fast"))
    find(second.button, "Start").click().run()
    assert [error.value for error in second.error] == [told]  # now that the run has its folder, too
    assert list_trainings() == ["tiny-fast"]


def test_whoever_resumes_a_moment_too_late_is_told_on_the_page(open_app: OpenApp, tiny_run: Run, monkeypatch: Any) -> None:
    monkeypatch.setattr(jobs, "LEAVING_SECONDS", 0.0)
    status = json.loads((tiny_run.path / "status.json").read_text())
    (tiny_run.path / "status.json").write_text(json.dumps(status | {"state": "stopped"}))
    app = open_app("train")
    find(app.selectbox, "Train or watch").set_value("tiny-run").run()
    with lock_run("tiny-run"):  # another's process, which hasn't written its first word
        find(app.button, "Resume").click().run()
        assert not app.exception
        told = "run tiny-run is being trained already, perhaps by another visitor: watch it, or choose another name"
        assert [info.value for info in app.info] == [told]
        app.run()
        assert [info.value for info in app.info] == [told]  # until it is pressed again
    assert tiny_run.metrics()


def test_the_page_asks_to_be_called_twice_a_second_only_while_it_runs(
    open_app: OpenApp, tiny_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    send = ScriptRunContext.enqueue

    def watch(self: ScriptRunContext, message: Any) -> None:
        if message.WhichOneof("type") == "auto_rerun":
            asked.append(message.auto_rerun.interval)
        send(self, message)

    monkeypatch.setattr(ScriptRunContext, "enqueue", watch)
    app = open_app("train")
    find(app.selectbox, "Train or watch").set_value("tiny-run").run()
    assert "Run **tiny-run** is finished" in said(app)
    status = json.loads((tiny_run.path / "status.json").read_text())
    for state in ("stopped", "failed", "interrupted"):
        (tiny_run.path / "status.json").write_text(json.dumps(status | {"state": state}))
        app.run()
    assert asked == []
    (tiny_run.path / "status.json").write_text(json.dumps(status | {"state": "running"}))
    with lock_run("tiny-run"):
        app.run()
    assert "Run **tiny-run** is being trained" in said(app)
    assert asked == [0.5]
    app.run()  # its process is gone
    assert "Run **tiny-run** was interrupted" in said(app)
    assert asked == [0.5]


def test_a_finished_run_has_its_curves_log_and_no_button(open_app: OpenApp, tiny_run: Run) -> None:
    app = open_app("train", training="tiny-run")
    find(app.selectbox, "Train or watch").set_value("tiny-run").run()
    assert not app.exception
    text = said(app)
    assert "Run **tiny-run** is finished" in text
    assert "lecture notes" not in text  # other data: no such reference
    assert "making the map" in app.code[0].value
    assert not [button.label for button in app.button if button.label in ("Resume", "Stop and save")]


def test_a_collapse_is_told_with_what_to_try(open_app: OpenApp, tiny_run: Run) -> None:
    lines = tiny_run.metrics()
    lines[-1]["active_units"] = 0
    (tiny_run.path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    app = open_app("train")
    find(app.selectbox, "Train or watch").set_value("tiny-run").run()
    assert "The posterior has collapsed" in said(app)
    assert "try a lower learning rate" in said(app)


def test_a_failure_is_a_sentence_and_a_killed_one_can_be_resumed(open_app: OpenApp, tiny_run: Run) -> None:
    status = json.loads((tiny_run.path / "status.json").read_text())
    failed = status | {"state": "failed", "error": "the disk is full: make room, then resume"}
    (tiny_run.path / "status.json").write_text(json.dumps(failed))
    app = open_app("train")
    find(app.selectbox, "Train or watch").set_value("tiny-run").run()
    (error,) = app.error
    assert error.value.startswith("Run **tiny-run** failed. Preset fast on tiny, 3 latent dimensions.")
    assert error.value.endswith("The disk is full\\: make room, then resume.")
    assert find(app.button, "Resume")
    (tiny_run.path / "status.json").write_text(json.dumps(status | {"state": "running"}))
    app.run()
    assert "Run **tiny-run** was interrupted" in said(app)
    assert find(app.button, "Resume")


def test_damaged_pictures_are_told_and_the_curves_stay(open_app: OpenApp, tiny_run: Run) -> None:
    (tiny_run.path / "previews" / "epoch-00001.npz").write_bytes(b"")
    app = open_app("train")
    find(app.selectbox, "Train or watch").set_value("tiny-run").run()
    assert not app.exception
    assert "The pictures of the epochs can't be shown" in said(app)
    assert "KL on the validation images" in said(app)


def test_the_notes_reference_stands_beside_the_shipped_run(open_app: OpenApp) -> None:
    app = open_app("train")
    find(app.selectbox, "Train or watch").set_value("fashion-mnist").run()
    assert not app.exception
    assert "The crosses are the lecture notes' recipe" in said(app)
    history = read_history(open_run("fashion-mnist"))
    assert f"The best epoch so far is {history.epoch[np.argmin(history.validation[:, 0])]}" in said(app)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("train", "parameters** for images of 8 × 8 × 1"),
        ("runs", "There is no run yet: train one"),
        ("dataset", "Add images of"),
    ],
)
def test_the_pages_are_there_before_the_first_run(open_app: OpenApp, workspace: object, name: str, sentence: str) -> None:
    app = open_app(name)
    assert not app.exception
    assert sentence in said(app)


def test_a_data_set_leads_to_the_form_and_a_finished_run_to_explore(open_app: OpenApp, tiny_run: Run, workspace: Any) -> None:
    shutil.copytree(workspace.data / "tiny", workspace.data / "zebras")
    app = open_app("dataset")
    find(app.selectbox, "Data set").set_value("zebras").run()
    find(app.button, "Train on zebras").click().run()
    assert not app.exception
    assert find(app.selectbox, "Data set").value == "zebras"
    assert find(app.text_input, "Name of the run").value == "zebras-fast"
    shutil.rmtree(workspace.data / "zebras")
    app.switch_page("views/train.py").run()
    assert find(app.selectbox, "Data set").value == "tiny"
    find(app.selectbox, "Train or watch").set_value("tiny-run").run()
    find(app.button, "Open in Explore").click().run()
    assert not app.exception
    assert app.session_state["visit"].run == "tiny-run"
    assert "the posterior mean of test image 0" in said(app)
