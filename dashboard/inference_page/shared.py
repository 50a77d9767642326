"""What the panels of the page Inference share: the draws of the image's posterior, and how numbers are written."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import streamlit as st

from dashboard.generate.shared import remember
from dashboard.resources import LoadedRun, Subject
from vae import Draws, Estimate, draw_posterior, generator_for

MOST_DRAWS, LEAST_DRAWS = 2048, 256
BUDGET_PIXELS = 2_000_000
"""How many pixels the draws may be decoded to: of larger images there are fewer draws, but at least `LEAST_DRAWS`."""


@dataclass(frozen=True, eq=False)
class Question:
    """An image, and the number that its random draws are a function of."""

    subject: Subject
    seed: int

    @property
    def key(self) -> tuple[str, int]:
        """The same for the same question, and for no other."""
        subject = self.subject
        parts = (subject.pixels, subject.mean, subject.logvar)
        return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest(), self.seed


def count_draws(image_shape: tuple[int, int, int]) -> int:
    """How many draws there are of an image of that shape: a power of two."""
    channels, height, width = image_shape
    wanted = min(MOST_DRAWS, max(LEAST_DRAWS, BUDGET_PIXELS // (channels * height * width)))
    return 1 << (wanted.bit_length() - 1)


def draws_of(loaded: LoadedRun, question: Question) -> Draws:
    """Draws of q(z|x), made once for each question."""
    subject = question.subject

    def draw() -> Draws:
        noise = generator_for(question.seed, "view", 1, loaded.device)
        count = count_draws(loaded.data.image_shape)
        with loaded.lock:
            return draw_posterior(loaded.model, subject.pixels, subject.mean[None], subject.logvar[None], noise, count)

    return remember(loaded, "inference-draws", question.key, draw)


def with_error(estimate: Estimate, digits: int = 2) -> str:
    """A value with its standard error, in bold, as ``**−177.91** ± 0.06``."""
    return f"**{number(estimate.value, digits)}** ± {estimate.standard_error:.{digits}f}"


def number(value: float, digits: int = 2) -> str:
    """A number with a true minus sign, and none before a zero."""
    text = f"{value:,.{digits}f}"
    return (text[1:] if float(text.replace(",", "")) == 0 and text.startswith("-") else text).replace("-", "−")


def lesson(title: str, text: str, *equations: str) -> None:
    """A panel's head: its title, two sentences, and the equation in KaTeX's TeX, a line each."""
    st.markdown(f"**{title}**  \n{text}")
    with st.container(gap=None):
        for equation in equations:
            st.latex(equation)
