"""What there is to see of a training: how far it is, its curves, its pictures, its log."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import streamlit as st

from dashboard.charts import Curve, Level, curves, kl_heat_map
from dashboard.components.epoch_pictures import EpochPictures, choose_epochs, epoch_pictures
from dashboard.markdown import plain
from dashboard.permissions import may_change
from dashboard.state import current_visit
from dashboard.training.estimate import duration_text
from dashboard.training.process import forget_training, resume_training, stop_training, watch_training
from vae import DataError, History, Run, RunError, Status, list_devices, open_run, pixel_entropy, read_history
from vae.evaluate import load_run_data
from vae.jobs import JobError
from vae.palette import PETROFF

POLL_SECONDS = 0.5
LOG_LINES = 12
RATE_SECONDS = 15
TOLD = "train-told"
"""The session key of a run's name and why its Resume did nothing: said until that training ends or Resume is pressed again."""
TERMS = ("−ELBO", "Reconstruction term, −E[log p(x|z)]", "KL(q(z|x) ‖ p(z))")
STATES = {
    "new": "hasn't begun",
    "running": "is being trained",
    "stopped": "was stopped; its last step is saved",
    "interrupted": "was interrupted: its process was killed, or the machine went down. Its last saved step is kept",
    "failed": "failed",
    "finished": "is finished",
}
NOTES: dict[int, tuple[tuple[int, float], ...]] = {
    0: (
        *((1, 310.2), (2, 279.6), (3, 267.9), (4, 261.7), (10, 249.5)),
        *((30, 242.7), (40, 241.6), (60, 240.2), (80, 239.3), (108, 238.8)),
    ),
    1: ((4, 242.5), (108, 220.9)),
    2: ((4, 19.2), (108, 17.9)),
}
"""What the lecture notes' recipe reached after so many epochs, for each of `TERMS`: Fashion-MNIST test images, nats."""
NOTES_SOURCE = (
    "The crosses are the lecture notes' recipe (preset notes), measured after 1 to 108 epochs on the 10,000 test images with "
    "one sample of z (from 10 epochs on in bf16)."
)
COLLAPSE = (
    "**The posterior has collapsed.** q(z|x) is nearly the prior for every image (KL {kl:.2f} nats, {active} active units "
    "after epoch {epoch}): the decoder ignores z, all reconstructions look alike, and there is nothing to explore.  \n"
    "Early in a training this can pass. If it stays, try a lower learning rate, a smaller decoder or batch, another seed, and, "
    "where the form has them, KL warm-up, free bits or a β below 1."
)


def training_monitor(name: str) -> None:
    """Draw all that is known of a training. It follows twice a second while it runs, and not at all otherwise."""
    status, run = watch_training(name), _opened(name)
    running = status is not None and status.state == "running"
    st.fragment(_pulse, run_every=POLL_SECONDS if running else None)(name, _signature(name, run, status))
    if run is None:
        return
    history = _history(run)
    if len(history):
        _curves(run, history)
        _pictures(run, history)
    elif running:
        st.caption("The curves and the pictures begin with the first epoch.")
    with st.expander("Log: its last lines", icon=":material/notes:", expanded=status is not None and status.state == "failed"):
        st.code("\n".join(run.log_lines(LOG_LINES)) or "Nothing yet.", language=None, wrap_lines=True)


def _opened(name: str) -> Run | None:
    try:
        return open_run(name)
    except RunError:
        return None


def _signature(name: str, run: Run | None, status: Status | None) -> tuple[Any, ...]:
    """What changes when there is more to draw than the progress."""
    state = status.state if status else None
    if run is None:
        return name, state
    return name, state, _stamp(run), run.preview_epochs()[-1:]


def _stamp(run: Run) -> tuple[int, int]:
    try:
        stat = (run.path / "metrics.jsonl").stat()
    except OSError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


# --- progress ------------------------------------------------------------------------------------------------------


def _pulse(name: str, drawn: tuple[Any, ...]) -> None:
    """How far it is. Where there is more to draw than that, the page runs again."""
    status, run = watch_training(name), _opened(name)
    if _signature(name, run, status) != drawn:
        st.rerun(scope="app")
    if status is None:
        st.info(f"Nothing is known of a training named {name}.")
        return
    _state_line(name, run, status)
    told = st.session_state.get(TOLD)
    if told is not None and told[0] == name:
        st.info(told[1])
    if status.state == "running":
        share = min(status.step / status.total_steps, 1.0) if status.total_steps else 0.0
        st.progress(share, _progress_words(name, run, status))
    if status.state == "finished" and run is not None:
        _explore(name)
    else:
        _buttons(name, run, status)


def _state_line(name: str, run: Run | None, status: Status) -> None:
    device = list_devices().get("cuda:0" if status.device == "cuda" else status.device, status.device)
    words = f"Run **{name}** {STATES.get(status.state, status.state)}."
    if run is not None:
        words += f" Preset {run.config.preset} on {run.config.dataset}, {run.config.model.latent} latent dimensions"
        words += f"; {device}." if device and status.state == "running" else "."
    if status.state == "failed":
        words += f"\n\n{plain(_sentence(status.error or 'it left no word of why'))}"  # it comes out of a file
    {"failed": st.error, "interrupted": st.warning}.get(status.state, st.markdown)(words)


def _sentence(text: str) -> str:
    """Text that begins with a capital, unless with a name of something, and ends with a stop."""
    first = text.split(maxsplit=1)[0] if text.strip() else ""
    begun = text[:1].upper() + text[1:] if first.isalpha() else text
    return begun if begun.endswith((".", "!", "?")) else f"{begun}."


def _progress_words(name: str, run: Run | None, status: Status) -> str:
    if st.session_state.get("train-stopping") == (name, status.pid):
        return "Stopping: it saves at its next step"
    if not status.total_steps or run is None:
        return "Starting: libraries and data are being read"
    if status.step >= status.total_steps:
        stage = (run.log_lines(1) or [""])[0][20:]
        return f"All {status.epochs:,} epochs are done; {stage}" if stage in ("evaluating", "making the map") else "Finishing"
    text = (
        f"Epoch {min(status.epoch + 1, status.epochs):,} of {status.epochs:,}, step {status.step:,} of {status.total_steps:,}"
    )
    rate = _rate(name, status)
    if rate is None:
        return text
    left = (status.total_steps - status.step) / rate
    return f"{text}: {rate * run.config.train.batch_size:,.0f} images/s, {duration_text(left)} left"


def _rate(name: str, status: Status) -> float | None:
    """Steps a second, everything included, over the last seconds that this visit has seen."""
    seen: deque[tuple[float, int]] = st.session_state.setdefault(f"train-seen-{name}-{status.pid}", deque())
    if not seen or seen[-1][1] < status.step:
        seen.append((status.updated, status.step))
    while len(seen) > 2 and seen[-1][0] - seen[0][0] > RATE_SECONDS:
        seen.popleft()
    (start, first), (end, last) = seen[0], seen[-1]
    return (last - first) / (end - start) if end > start and last > first else None


def _explore(name: str) -> None:
    visit = current_visit()
    if visit is None:
        return
    if st.button("Open in Explore", type="primary", icon=":material/scatter_plot:", key=f"train-explore-{name}"):
        visit.run = name
        st.switch_page("views/explore.py")


def _stop(name: str, pid: int) -> None:
    st.session_state["train-stopping"] = name, pid
    stop_training(name)


def _buttons(name: str, run: Run | None, status: Status) -> None:
    if not may_change()[0]:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        if status.state == "running":
            # NOTE: a callback, because a run that finds more to draw begins anew before it comes to the buttons.
            st.button(
                "Stop and save", icon=":material/stop:", key=f"train-stop-{name}", on_click=_stop, args=(name, status.pid)
            )
            st.caption("It runs in a process of its own: this page may be left, reloaded or closed, and the dashboard stopped.")
        elif run is not None and not run.is_resumable:
            st.caption("A training by stochastic variational inference keeps no state, so it can't be resumed.")
        elif run is not None and status.state != "finished":
            device = status.device if status.device in {"cuda", *list_devices()} else "auto"
            if st.button("Resume", type="primary", icon=":material/play_arrow:", key=f"train-resume-{name}"):
                st.session_state.pop(TOLD, None)
                try:
                    resume_training(name, device)
                except (JobError, RunError) as error:
                    st.session_state[TOLD] = name, str(error)
                st.rerun(scope="app")
        elif run is None and st.button("Dismiss", key=f"train-dismiss-{name}"):
            forget_training(name)
            st.rerun(scope="app")


# --- curves --------------------------------------------------------------------------------------------------------


def _history(run: Run) -> History:
    return _read(str(run.path), _stamp(run), run)


@st.cache_resource(max_entries=16, show_spinner=False)
def _read(path: str, stamp: tuple[int, int], _run: Run) -> History:
    del path, stamp  # the cache's key
    return read_history(_run)


@st.cache_data(max_entries=16, show_spinner=False)
def _floor(dataset: str, digest: str, _run: Run) -> float:
    """The mean pixel entropy of the validation images."""
    del dataset, digest  # the cache's key
    return float(pixel_entropy(load_run_data(_run, "validation").images).astype(np.float64).mean())


def _entropy_floor(run: Run) -> float | None:
    if run.config.model.likelihood != "bernoulli":
        return None
    try:
        return _floor(run.config.dataset, run.config.data_digests.get("validation", ""), run)
    except DataError:
        return None


def _curves(run: Run, history: History) -> None:
    if history.is_collapsed:
        numbers = {"kl": history.validation[-1, 2], "active": history.active_units[-1], "epoch": history.epoch[-1]}
        st.warning(COLLAPSE.format(**numbers), icon=":material/warning:")
    floor, epochs = _entropy_floor(run), history.epoch.astype(np.float64)
    with_notes = run.config.dataset == "fashion-mnist" and run.config.model.likelihood == "bernoulli"
    columns = st.columns(3)
    for term, (column, title) in enumerate(zip(columns, TERMS, strict=True)):
        lines = [
            Curve("training", epochs, history.train[:, term], PETROFF[0]),
            Curve("validation", epochs, history.validation[:, term], PETROFF[6]),
        ]
        levels = [Level("entropy floor", floor)] if floor is not None and term < 2 else []
        if with_notes:
            reached = np.array([point for point in NOTES[term] if point[0] <= max(4, epochs[-1])], np.float64)
            lines.append(Curve("notes, test", reached[:, 0], reached[:, 1], PETROFF[4], is_marks=True))
        figure = curves(title, "epoch", "nats per image", lines, levels)
        column.plotly_chart(figure, key=f"train-chart-{run.name}-{term}", config={"displaylogo": False})
    text = (
        "Means in nats per image, lower −ELBO is better; one sample of z. Training: averaged over the epoch while the weights "
        "changed. Validation: after the epoch, on images held out."
    )
    if floor is not None:
        text += " The entropy floor is that of the validation images: as their pixels are shades, nothing can go below it."
    st.caption(f"{text} {NOTES_SOURCE}" if with_notes else text)
    _dimensions(run, history, epochs)


def _dimensions(run: Run, history: History, epochs: np.ndarray) -> None:
    left, right = st.columns([2, 1])
    left.plotly_chart(
        kl_heat_map(history.epoch.tolist(), history.kl_per_dimension),
        key=f"train-heat-{run.name}",
        config={"displaylogo": False},
    )
    active = Curve("active units", epochs, history.active_units.astype(np.float64))
    speed = Curve("images/s", epochs, history.images_per_second, PETROFF[1])
    for title, unit, line in (("Active units", "dimensions", active), ("Speed in gradient steps", "images/s", speed)):
        figure = curves(title, "epoch", unit, [line])
        figure.update_yaxes(rangemode="tozero", range=None)
        right.plotly_chart(figure, key=f"train-chart-{run.name}-{title}", config={"displaylogo": False})
    st.caption(
        f"KL on the validation images. A dimension is active where its posterior mean varies from image to image (variance "
        f"above 0.01): {history.active_units[-1]} of {run.config.model.latent} after epoch {history.epoch[-1]}. The best "
        f"epoch so far is {history.epoch[history.best]}; its weights are what serves."
    )


# --- pictures ------------------------------------------------------------------------------------------------------


def _pictures(run: Run, history: History) -> None:
    epochs = tuple(choose_epochs(run.preview_epochs()))
    if not epochs:
        return
    try:
        pictures = _load_pictures(str(run.path), epochs, _stamp(run), run, history)
    except RunError as error:
        st.warning(f"The pictures of the epochs can't be shown. {plain(str(error))}")
        return
    epoch_pictures(pictures, key=f"train-pictures-{run.name}", run=run.name)
    left_out = len(run.preview_epochs()) - len(epochs)
    st.caption(
        "The same validation images and the same 16 prior samples at every epoch; the slider asks the server for nothing."
        + (f" {len(epochs)} epochs, evenly apart; {left_out:,} others are kept in the run." if left_out else "")
    )


@st.cache_resource(max_entries=4, show_spinner=False)
def _load_pictures(path: str, epochs: tuple[int, ...], stamp: tuple[int, int], _run: Run, _history: History) -> EpochPictures:
    del path, stamp  # parts of the cache's key
    both = [_run.load_preview(epoch) for epoch in epochs]
    if len({(len(first), len(second)) for first, second in both}) > 1:
        raise RunError(f"{_run.path / 'previews'}: expected as many pictures in every epoch: delete the folder")
    elbo = dict(zip(_history.epoch.tolist(), _history.validation[:, 0].tolist(), strict=True))
    captions = [
        f"Epoch {epoch:,}" + (f": validation −ELBO {elbo[epoch]:.1f} nats per image" if epoch in elbo else "")
        for epoch in epochs
    ]
    first, second = (np.stack(part) for part in zip(*both, strict=True))
    return EpochPictures(epochs, tuple(captions), _originals(_run, first.shape[1]), first, second)


def _originals(run: Run, count: int) -> np.ndarray | None:
    """The validation images that are reconstructed, if the data set is still the one of the training."""
    try:
        return load_run_data(run, "validation").images[:count]
    except DataError:
        return None
