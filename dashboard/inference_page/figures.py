"""Arrays to plotly figures: the ELBO as a sum, and estimates against the number of draws. No Streamlit."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float32, Float64

from dashboard.charts import GREY, lay_out
from vae import Draws
from vae.palette import PETROFF

SHOWN_DIMENSIONS = 16
REPEATS = 8
"""How often an estimate is repeated, with other draws each time."""
DRAWN, EXACT = PETROFF[0], PETROFF[6]


def elbo_sum(draws: Draws, mean: Float32[np.ndarray, " latent"], logvar: Float32[np.ndarray, " latent"]) -> go.Figure:
    """From the reconstruction term down to the ELBO: each dimension's KL takes its part, the largest first."""
    kl = draws.kl_per_dimension[0]
    order = np.argsort(-kl, kind="stable")
    shown, rest = order[:SHOWN_DIMENSIONS], order[SHOWN_DIMENSIONS:]
    names = [f"z{dimension}" for dimension in shown]
    parts = [float(kl[dimension]) for dimension in shown]
    notes = [f"mean {mean[d]:+.2f}, standard deviation {np.exp(logvar[d] / 2):.2f}" for d in shown]
    if len(rest):
        names.append(f"{len(rest)} others")
        parts.append(float(kl[rest].sum()))
        notes.append("together")
    top = float(draws.reconstruction.mean())
    levels = top - np.cumsum([0.0, *parts])
    figure = go.Figure(
        go.Bar(
            x=names,
            y=parts,
            base=levels[1:],
            marker={"color": DRAWN},
            customdata=notes,
            hovertemplate="KL of %{x}: %{y:.3f} nats<br>%{customdata}<extra></extra>",
        )
    )
    room = 0.1 * (levels[0] - levels[-1]) or 1.0
    for level, name, anchor in ((levels[0], "reconstruction", "bottom"), (levels[-1], "ELBO", "top")):
        figure.add_hline(level, line={"color": GREY, "dash": "dot", "width": 1.5})
        place = {"x": 0.99, "xref": "paper", "xanchor": "right", "y": level, "yanchor": anchor, "showarrow": False}
        figure.add_annotation(text=f"{name} {level:,.1f}".replace("-", "−"), font={"size": 12}, **place)
    lay_out(figure, "reconstruction − KL of each dimension = ELBO", "latent dimension, the largest KL first", "nats")
    figure.update_yaxes(range=[levels[-1] - 1.6 * room, levels[0] + 1.6 * room])
    figure.update_xaxes(type="category", tickangle=-60, tickfont={"size": 10})
    return figure


def against_samples(title: str, values: Float64[np.ndarray, " samples"], exact: float | None = None) -> go.Figure:
    """Means of S draws for rising S, `REPEATS` each from draws of their own, and the band that theory expects: the mean of
    all draws, give or take their standard deviation over the root of S. ``exact`` is drawn as a line."""
    sizes = 2 ** np.arange((len(values) // REPEATS).bit_length())
    estimates = [values[: REPEATS * size].reshape(REPEATS, size).mean(axis=1) for size in sizes]
    middle, half = float(values.mean()), values.std(ddof=1) / np.sqrt(sizes)
    figure = go.Figure()
    edge = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
    figure.add_scatter(x=sizes, y=middle + half, **edge)
    band = {"fill": "tonexty", "fillcolor": "rgba(127, 134, 148, 0.28)"}
    figure.add_scatter(x=sizes, y=middle - half, **{**edge, "showlegend": True}, **band, name="± 1 standard error")
    figure.add_scatter(
        x=np.repeat(sizes, REPEATS),
        y=np.concatenate(estimates),
        mode="markers",
        marker={"color": DRAWN, "size": 6, "line": {"width": 0}},
        name=f"means of S draws, {REPEATS} each",
        hovertemplate="%{y:,.2f} nats from %{x} draws<extra></extra>",
    )
    if exact is not None:
        ends = [sizes[0], sizes[-1]]
        line = {"color": EXACT, "width": 2}
        figure.add_scatter(x=ends, y=[exact, exact], mode="lines", line=line, name="closed form", hoverinfo="skip")
    lay_out(figure, title, "S, draws of z in one estimate", "nats")
    figure.update_xaxes(type="log", tickvals=sizes, ticktext=[str(size) for size in sizes])
    return figure
