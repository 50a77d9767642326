"""The refinement of one image's q, shown while it runs, and what it gained.

It is done in slices of time, one for each run of the fragment, so that the page shows it grow and answers meanwhile.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import streamlit as st
from streamlit.errors import StreamlitAPIException

from dashboard.components.refinement import Climb, refinement_view
from dashboard.generate.shared import decoded, next_generation, session_key
from dashboard.inference_page.shared import Question, lesson, number, with_error
from dashboard.resources import LoadedRun
from vae import Estimate, Waypoint, draw_posterior, generator_for, mean_of, refine_image
from vae.single_image import REFINEMENT_SAMPLES, REFINEMENT_STEPS

SLICE_SECONDS = 0.3
MOST_DRAWS, LEAST_DRAWS, BUDGET_PIXELS = 1000, 100, 4_000_000

FLUSH_SECONDS = 0.03
"""A run that begins at once takes back what the last one said, if the server hasn't sent it yet."""


@dataclass(eq=False)
class Refinement:
    """One refinement, from its first step to the figure that it is reported by."""

    question: Question
    coming: Iterator[Waypoint]
    generation: int
    points: list[Waypoint] = field(default_factory=list)
    climb: Climb | None = None
    """All of it with its pictures, once the last step is taken."""
    gains: tuple[Estimate, Estimate] | None = None
    """What was gained over the encoder's q by refining that, and by refining the prior: estimated anew, paired."""
    problem: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether nothing more will come."""
        return self.gains is not None or self.problem is not None

    def advance(self, loaded: LoadedRun) -> None:
        """Work for about `SLICE_SECONDS`, a step at least."""
        if self.climb is not None:
            self.gains = gains_of(loaded, self.question, self.points[-1])
            return
        try:
            with loaded.lock:
                until = time.monotonic() + SLICE_SECONDS
                self.points.append(next(self.coming))
                while self.points[-1].step < REFINEMENT_STEPS and time.monotonic() < until:
                    self.points.append(next(self.coming))
        except FloatingPointError as error:
            self.problem = str(error)
        if self.points and self.points[-1].step == REFINEMENT_STEPS:
            self.climb = self.seen(loaded, range(len(self.points)))

    def seen(self, loaded: LoadedRun, pictured: range) -> Climb:
        """What there is to see so far, with the pictures of some of the points."""
        means = np.stack([np.asarray(self.points[place].posterior.mean.cpu()) for place in pictured])
        pictures = decoded(loaded, means.reshape(-1, means.shape[-1]))
        return Climb(
            generation=self.generation,
            steps=tuple(point.step for point in self.points),
            end=REFINEMENT_STEPS,
            draws=REFINEMENT_SAMPLES,
            elbo=np.stack([np.asarray(point.terms.value.cpu(), dtype=np.float32) for point in self.points], axis=1),
            pictured=tuple(self.points[place].step for place in pictured),
            pictures=pictures.reshape(*means.shape[:2], *pictures.shape[1:]),
            original=self.question.subject.pixels,
        )


def gains_of(loaded: LoadedRun, question: Question, last: Waypoint) -> tuple[Estimate, Estimate]:
    """ELBO of each refined q less that of the encoder's, in nats, from fresh draws: the same noise for all three, so that the
    standard errors are those of paired differences. What the refined q have seen in their ascent plays no part in it."""
    subject = question.subject
    refined = [np.asarray(values.cpu()) for values in (last.posterior.mean, last.posterior.logvar)]
    mean, logvar = (
        np.concatenate([own[None], found]) for own, found in zip((subject.mean, subject.logvar), refined, strict=True)
    )
    channels, height, width = loaded.data.image_shape
    count = max(LEAST_DRAWS, min(MOST_DRAWS, BUDGET_PIXELS // (3 * channels * height * width)))
    noise = generator_for(question.seed, "evaluation", 2**21, loaded.device)
    with loaded.lock:
        draws = draw_posterior(loaded.model, subject.pixels, mean, logvar, noise, count)
    first, second = (mean_of(draws.elbo[:, place] - draws.elbo[:, 0]) for place in (1, 2))
    return first, second


# --- on the page ---------------------------------------------------------------------------------------------------


@st.fragment
def refinement_panel(loaded: LoadedRun, question: Question) -> None:
    """The panel: before, while and after."""
    lesson(
        "Refinement: what does the encoder cost?",
        "The encoder answers for every image at once; here q is fitted to this image alone, by gradient ascent on its mean and "
        "log-variance, the decoder fixed. What the ELBO gains over the encoder's answer is its amortization gap.",
        r"\phi \leftarrow \phi + \eta \, \nabla_\phi \, \mathrm{ELBO}(x; \theta, \phi), \quad "
        r"\text{gap} = \max_\phi \mathrm{ELBO}(x; \theta, \phi) - \mathrm{ELBO}(x; \theta, \phi_{\text{encoder}}(x)) \geq 0",
    )
    key = session_key(loaded, "refinement")
    current: Refinement | None = st.session_state.get(key)
    if current is not None and current.question.key != question.key:
        current = None

    def begin() -> None:
        subject = question.subject
        coming = refine_image(loaded.model, subject.pixels, subject.mean, subject.logvar, question.seed)
        st.session_state[key] = Refinement(question, coming, next_generation())

    if current is not None and not current.is_done:
        current.advance(loaded)
    if current is None:
        st.button(f"Refine, {REFINEMENT_STEPS} steps", on_click=begin, type="primary", icon=":material/trending_up:")
        _warm_up(loaded.weights_digest, loaded, question)
        return
    if not current.is_done:
        st.button("Stop", on_click=lambda: st.session_state.pop(key, None), icon=":material/stop:")
    if current.points:
        refinement_view(
            current.climb or current.seen(loaded, range(len(current.points) - 1, len(current.points))),
            key=session_key(loaded, "refinement-view"),
        )
    _caption(current)
    if not current.is_done:
        _go_on()


@st.cache_resource(max_entries=4, show_spinner=False)
def _warm_up(weights: str, _loaded: LoadedRun, _question: Question) -> None:
    """Two steps, once for each run, while the page is being read: what PyTorch prepares and imports for a first gradient step
    takes as long as ninety others."""
    del weights  # the cache's key
    subject = _question.subject
    with _loaded.lock, contextlib.suppress(FloatingPointError):
        for _ in refine_image(_loaded.model, subject.pixels, subject.mean, subject.logvar, 0, steps=2):
            pass


def _go_on() -> None:
    time.sleep(FLUSH_SECONDS)
    try:
        st.rerun(scope="fragment")
    except StreamlitAPIException:  # the page runs as a whole, the fragment in it
        st.rerun()


def _caption(current: Refinement) -> None:
    if current.problem is not None:
        st.warning(f"The refinement was given up: {current.problem}.")
        return
    if current.gains is None:
        step = current.points[-1].step
        st.markdown("Estimating the gap from fresh draws." if current.climb else f"Step {step} of {REFINEMENT_STEPS}.")
        return
    gap, prior = current.gains
    verb = "above" if prior.value >= 0 else "below"
    st.markdown(
        f"**Amortization gap**, at least {with_error(gap)} nats: the ELBO of the q that was refined from the encoder's answer, "
        f"less that of the encoder's answer itself (paired standard error, {gap.samples:,} fresh draws of z, the same for "
        f"both; positive: the encoder loses so much). From the prior, {REFINEMENT_STEPS} steps end {number(abs(prior.value))} "
        f"± {prior.standard_error:.2f} nats {verb} the encoder's answer.",
        help="Any q gives a lower bound on the gap; a better ascent could find a larger one. Within its error it may come out "
        "below 0.",
    )
    st.caption(
        f"The curves use {REFINEMENT_SAMPLES} draws of z, the same at every point, so that their shape can be read; their "
        "level has those draws' error. Pictures are decoded from the mean of q."
    )
