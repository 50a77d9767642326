"""Directions: what tells two groups apart, tried out on an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import streamlit as st
from jaxtyping import Float32, Float64, Int64

from dashboard.components.latent_map import MapCommit, Select
from dashboard.components.scrubber import Frames, Reading, make_frames, plan_frames
from dashboard.generate.groups import HOW_TO_KEEP, groups_of
from dashboard.generate.line import line_map, line_panel, marks_of
from dashboard.generate.shared import (
    choose_row,
    decoded,
    flat_map,
    keep,
    next_generation,
    placed,
    remember,
    sentence,
    session_key,
)
from dashboard.markdown import plain
from dashboard.resources import LoadedRun, ShownMap, Subject
from dashboard.state import Visit
from vae import (
    Probe,
    Separation,
    bootstrap_cosines,
    fit_probe,
    generator_for,
    mean_difference,
    percentile_along,
    separation,
)

ROW, CLICKED, KIND = "direction-row", "direction-clicked", "direction-kind"
YOURS, TEST = "Your image", "A test image"
REACH = 2.0
"""How far the slider goes either way, in distances between the two groups' means."""


@dataclass(frozen=True, eq=False)
class Direction:
    """The direction from one group to another, and what is known of it."""

    first: str
    second: str
    counts: tuple[int, int]
    vector: Float64[np.ndarray, " used"]
    """In the dimensions that distances are measured in."""
    cosines: Float64[np.ndarray, " resamples"]
    separation: Separation
    probe: Probe

    @property
    def title(self) -> str:
        """A few words that name it."""
        return f"{self.first} → {self.second}"


def directions(loaded: LoadedRun, visit: Visit) -> None:
    """Draw the section."""
    groups = groups_of(loaded, visit)
    if len(groups) < 2:
        st.info(f"A direction needs two groups of images, and there is {'one' if groups else 'none'}. {HOW_TO_KEEP}")
        return
    clicked = st.session_state.pop(session_key(loaded, CLICKED), None)
    if clicked is not None:
        st.session_state[session_key(loaded, ROW)] = clicked
        st.session_state[session_key(loaded, KIND)] = TEST
    with st.container(horizontal=True, vertical_alignment="bottom"):
        first, second = _choose_groups(loaded, visit, groups)
        subject = _choose_image(loaded, visit)
    try:
        question = (first, second, groups[first].tobytes(), groups[second].tobytes())
        found = remember(
            loaded, "direction", question, lambda: make_direction(loaded, first, second, groups[first], groups[second])
        )
    except ValueError as error:
        st.warning(sentence(error))
        return
    shown, _ = flat_map(loaded, visit)
    base = subject if subject.row is None else subject.row
    asked = (*question, subject.pixels.tobytes(), subject.row, shown and shown.points.digest)
    frames = remember(loaded, "direction-frames", asked, lambda: make_direction_frames(loaded, shown, found, subject))
    left, right = st.columns(2, gap="medium")
    with left:
        follow, marks = lambda commit: _choose_on_map(loaded, commit), marks_of(loaded, shown, (base,))
        line_map(loaded, visit, "direction", frames, follow, current=subject.row, marks=marks)
    with right:
        line_panel(
            loaded,
            visit,
            "direction",
            frames,
            (base,),
            name=f"How far along {found.title}",
            title=f"the posterior mean of {subject.title}, moved {_amount(-REACH)} to {_amount(REACH)} times {found.title}",
            ticks=[_amount(amount) for amount in _amounts(len(frames.points))],
        )
    _evidence(found)


def _choose_image(loaded: LoadedRun, visit: Visit) -> Subject:
    """The image to move: at first the one that is looked at on Explore, which may be one from outside."""
    if visit.outside is not None:
        kind = keep(loaded, KIND, YOURS, [YOURS, TEST])
        st.segmented_control("Move", [YOURS, TEST], required=True, key=kind, help="Your image is the one open on Explore.")
        if st.session_state[kind] == YOURS:
            return visit.outside
    return loaded.subject(choose_row(loaded, visit, ROW, "Move test image", "Or click a point of the map."))


def _choose_on_map(loaded: LoadedRun, commit: MapCommit) -> None:
    if isinstance(commit, Select) and commit.primary is not None:
        # NOTE: put into the number input at the next run's start: a widget that is drawn already can't be set.
        st.session_state[session_key(loaded, CLICKED)] = commit.primary


def _choose_groups(loaded: LoadedRun, visit: Visit, groups: dict[str, Int64[np.ndarray, " rows"]]) -> tuple[str, str]:
    """At first from the class of the image on Explore to the group whose mean is nearest."""
    names = list(groups)
    means = {name: loaded.encodings.mean[rows].mean(axis=0)[loaded.encodings.map_dimensions] for name, rows in groups.items()}
    own = loaded.data.class_name(min(visit.row, len(loaded.data) - 1))
    start = own if own in groups else names[0]
    others = [name for name in names if name != start]
    beside = min(others, key=lambda name: float(np.linalg.norm(means[name] - means[start])))
    first, second = keep(loaded, "first-group", start, names), keep(loaded, "second-group", beside, names)

    def swap() -> None:
        state = st.session_state
        state[first], state[second] = state[second], state[first]

    st.selectbox("From group", names, key=first, width=175, help=f"Classes, and groups you kept. {HOW_TO_KEEP}")
    st.selectbox("To group", names, key=second, width=175)
    st.button("Swap", on_click=swap, icon=":material/swap_horiz:")
    return str(st.session_state[first]), str(st.session_state[second])


def make_direction(
    loaded: LoadedRun, first: str, second: str, rows: Int64[np.ndarray, " a"], others: Int64[np.ndarray, " b"]
) -> Direction:
    """The direction, with its evidence; the random halves and resamples are always the same ones.

    Raises:
        ValueError: groups that share images, are too small, or have the same mean.
    """
    means = loaded.encodings.map_means
    with st.spinner("Comparing the groups"):
        return Direction(
            first,
            second,
            (len(rows), len(others)),
            mean_difference(means, rows, others),
            bootstrap_cosines(means, rows, others, generator_for(0, "view", 1)),
            separation(means, rows, others, generator_for(0, "view", 2)),
            fit_probe(means, rows, others),
        )


def moved_points(
    loaded: LoadedRun, direction: Direction, mean: Float32[np.ndarray, " latent"], amounts: Float64[np.ndarray, " steps"]
) -> Float32[np.ndarray, "steps latent"]:
    """An image's mean, moved by so many times the difference of the groups' means; other dimensions stay."""
    points = np.repeat(mean[None], len(amounts), axis=0).astype(np.float64)
    points[:, loaded.encodings.map_dimensions] += amounts[:, None] * direction.vector
    return points.astype(np.float32)


def make_direction_frames(loaded: LoadedRun, shown: ShownMap | None, direction: Direction, subject: Subject) -> Frames:
    """The image moved along the direction, from -`REACH` to `REACH`, with what the probe says at each frame."""
    count, block = plan_frames(loaded.data.image_shape)
    amounts = _amounts(count)
    middle = len(amounts) // 2
    points = moved_points(loaded, direction, subject.mean, amounts)
    used = loaded.encodings.map_dimensions
    pictures = decoded(loaded, points)
    again = loaded.encode(pictures).mean
    means = loaded.encodings.mean[:, used]
    readings = (
        Reading(
            "Strength",
            percentile_along(points[:, used], means, direction.vector),
            f"As far along {direction.title} as this share of all {len(means):,} test images, or farther.",
        ),
        Reading(
            f"P({direction.second} | z)",
            (100 * direction.probe.probability(points[:, used])).astype(np.float32),
            f"A linear probe's probability of {direction.second} against {direction.first}, at this point.",
        ),
        Reading(
            f"P({direction.second} | picture)",
            (100 * direction.probe.probability(again[:, used])).astype(np.float32),
            "The same probe on the decoded picture, encoded again.",
        ),
    )
    start = f"{subject.title}, as encoded"
    labels = tuple(f"{_amount(amount)} × ({direction.title})" if amount else start for amount in amounts)
    stops = ((0, _amount(-REACH)), (middle, "as encoded"), (2 * middle, _amount(REACH)))
    found = placed(loaded, shown, points, "means")
    made = found.positions, found.percentiles, labels, stops, readings
    return make_frames(next_generation(), points, pictures, *made, start=middle, block=block)


def _amounts(count: int) -> Float64[np.ndarray, " odd"]:
    """Even steps from -`REACH` to `REACH`, 0 among them: ``count`` of them or one less."""
    middle = (count - 1) // 2
    return np.arange(-middle, middle + 1) * (REACH / middle)


def _amount(amount: float) -> str:
    return f"{amount:+.2f}".replace("-", "−")


def _evidence(direction: Direction) -> None:
    found, (a, b) = direction.separation, direction.counts
    cosines, tested = direction.cosines, f"{found.tested[0]:,} and {found.tested[1]:,} images held out"
    rows = (
        ("distance between the means", f"{np.linalg.norm(direction.vector):.2f}", f"{len(direction.vector)} active dimensions"),
        (
            "cosine with resampled directions",
            f"median {np.median(cosines):.3f}, 5% are below {np.quantile(cosines, 0.05):.3f}",
            f"{len(cosines)} bootstrap resamples",
        ),
        ("accuracy of a threshold along it", f"{found.accuracy:.1%} (guessing: 50%)", tested),
        ("area under the ROC curve along it", f"{found.auc:.3f} (guessing: 0.5)", "the same"),
        ("accuracy of a full linear probe", f"{found.probe_accuracy:.1%} (guessing: 50%)", "the same"),
    )
    st.markdown(
        f"**How sure is {plain(direction.title)}?** {a:,} and {b:,} test images; 1 on the slider is the difference of their "
        "means."
    )
    st.markdown("\n".join(["| what | value | from |", "| --- | --- | --- |", *(f"| {' | '.join(row)} |" for row in rows)]))
    st.caption("Accuracies are the mean of both groups' shares. The slider's probe is fitted to all images of both groups.")
