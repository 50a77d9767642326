"""The panels about one image's q(z|x): the ELBO as a sum, its estimate, the KL in two ways, and what its samples decode to."""

from __future__ import annotations

import numpy as np
import streamlit as st

from dashboard.components.picture_grid import picture_grid
from dashboard.generate.shared import decoded, keep, open_in_explore, remember, session_key
from dashboard.inference_page.figures import REPEATS, against_samples, elbo_sum
from dashboard.inference_page.shared import Question, draws_of, lesson, number, with_error
from dashboard.pictures import enlarged
from dashboard.resources import LoadedRun
from dashboard.state import Visit
from vae import Draws, mean_of, pixel_spread

COUNTS = (8, 16, 32, 64)
PLOT = {"displayModeBar": False}


def sum_panel(loaded: LoadedRun, question: Question) -> None:
    """The ELBO, a sum that can be seen."""
    draws, subject = draws_of(loaded, question), question.subject
    lesson(
        "The ELBO is a sum",
        "The reconstruction term says how probable the image is where q places it. Each latent dimension then costs what it "
        "tells about the image: its KL from the prior.",
        r"\mathrm{ELBO} = \mathbb{E}_q[\log p(x|z)] - \sum_j \mathrm{KL}(q(z_j|x) \,\|\, p(z_j))",
    )
    figure = elbo_sum(draws, subject.mean, subject.logvar)
    st.plotly_chart(figure, key="elbo-sum", config=PLOT)
    reconstruction, elbo = mean_of(draws.reconstruction[:, 0]), mean_of(draws.elbo[:, 0])
    st.markdown(
        f"ELBO {with_error(elbo)} nats = reconstruction {with_error(reconstruction)} − KL **{number(draws.kl[0])}**; "
        f"higher is better. ± is the standard error of the mean of {elbo.samples:,} draws of z; the KL is exact."
    )


def estimate_panel(loaded: LoadedRun, question: Question) -> None:
    """The estimate of the ELBO against the number of draws."""
    draws = draws_of(loaded, question)
    lesson(
        "It is estimated from draws of z",
        "The expectation has no closed form, so it is replaced by the mean over S draws of z. Four times the draws halve "
        "the error; training takes S = 1 and relies on seeing many images.",
        r"\mathrm{ELBO} \approx \frac{1}{S} \sum_{s=1}^{S} \log p(x|z^{(s)}) - \mathrm{KL}",
        r"z^{(s)} = \mu + \sigma \odot \varepsilon^{(s)}, \quad \varepsilon^{(s)} \sim \mathcal{N}(0, I)",
    )
    values = draws.elbo[:, 0]
    st.plotly_chart(against_samples("Estimates of the ELBO", values), key="elbo-estimates", config=PLOT)
    estimate = mean_of(values)
    largest, deviation = estimate.samples // REPEATS, float(values.std(ddof=1))
    st.markdown(
        f"ELBO {with_error(estimate)} nats (mean of {estimate.samples:,} draws, standard error). The standard deviation of an "
        f"estimate is {deviation:.2f} nats with S = 1 and {deviation / np.sqrt(largest):.2f} with S = {largest}."
    )


def kl_panel(loaded: LoadedRun, question: Question) -> None:
    """The KL in closed form beside its Monte-Carlo estimate."""
    draws = draws_of(loaded, question)
    lesson(
        "The KL, exactly and from draws",
        "Between two Gaussians the KL has a closed form, so nothing need be drawn. Its estimate from the same draws of z must "
        "agree within its error.",
        r"\mathrm{KL} = \tfrac12 \sum_j \big(\sigma_j^2 + \mu_j^2 - 1 - \log \sigma_j^2\big)",
        r"\approx \frac{1}{S} \sum_{s=1}^{S} \log \frac{q(z^{(s)}|x)}{p(z^{(s)})}",
    )
    figure = against_samples("Estimates of the KL", draws.log_ratio[:, 0], float(draws.kl[0]))
    st.plotly_chart(figure, key="kl-estimates", config=PLOT)
    _kl_numbers(draws)


def _kl_numbers(draws: Draws) -> None:
    estimate, exact = mean_of(draws.log_ratio[:, 0]), float(draws.kl[0])
    apart = estimate.value - exact
    closed, drawn = float(draws.elbo.std(ddof=1)), float(draws.elbo_monte_carlo.std(ddof=1))
    errors = f", {abs(apart) / estimate.standard_error:.1f} standard errors" if estimate.standard_error else ""
    st.markdown(
        f"KL **{number(exact)}** nats in closed form; {with_error(estimate)} from {estimate.samples:,} draws (mean, standard "
        f"error): {number(apart)} apart{errors}. One draw of the ELBO has a standard deviation of {closed:.2f} nats with the "
        f"closed form, {drawn:.2f} with both terms drawn.",
        help="Drawing both terms can be the less noisy way: where q is the exact posterior, log p(x, z) − log q(z|x) is "
        "log p(x) for every z, and has no noise at all.",
    )


@st.fragment
def samples_panel(loaded: LoadedRun, visit: Visit, question: Question) -> None:
    """Decoded samples of q(z|x), and how far they differ, pixel by pixel."""
    draws = draws_of(loaded, question)
    lesson(
        "What q leaves open",
        "Each picture is decoded from another draw of z from q(z|x). Where they differ, the code of this image doesn't settle "
        "what is there.",
        r"\hat x^{(n)} = \mathbb{E}[x|z^{(n)}], \quad z^{(n)} \sim q(z|x)",
        r"s_i^2 = \frac{1}{N - 1} \sum_{n=1}^{N} \big(\hat x_i^{(n)} - \bar x_i\big)^2",
    )
    key = keep(loaded, "inference-count", 16, COUNTS)
    st.segmented_control("Samples, N", COUNTS, required=True, key=key)
    count = int(st.session_state[key])
    z = draws.z[:count, 0]
    pictures = remember(loaded, "inference-samples", (*question.key, count), lambda: loaded.decode(z))
    spread, whole = pixel_spread(pictures)
    left, right = st.columns([5, 3], gap="small")
    with left:
        chosen = picture_grid(
            decoded(loaded, z),
            key=session_key(loaded, "inference-samples-grid"),
            label=f"{count} samples of the posterior, decoded",
            names=[f"Open posterior sample {place} in Explore" for place in range(1, count + 1)],
            columns=8 if count > 16 else 4,
            size=80,
        )
    with right:
        most = float(spread.max())
        shown = np.rint(255 * spread[None] / (most or 1.0)).astype(np.uint8)
        st.image(
            enlarged(shown),
            caption=f"Standard deviation of each pixel over {count} samples: black is 0, white {most:.3f} of full brightness",
            alt="Standard deviation of each pixel",
            width="stretch",
        )
    st.markdown(
        f"Standard deviation **{whole.value:.4f}** ± {whole.standard_error:.4f} of full brightness (root mean square over "
        f"pixels, {count} samples, standard error); the noise of p(x|z) itself is not in it."
    )
    if chosen is not None:
        base = question.subject if question.subject.row is None else question.subject.row
        open_in_explore(visit, base, z[chosen], "posterior")
