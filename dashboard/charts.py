"""Arrays to plotly figures: curves of a training, KL per dimension, spectra. No Streamlit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float32, Float64, Int64

from vae.palette import PETROFF

HEIGHT = 270
GREY = "#7f8694"
INK = "#d6006c"
"""Stands out from every class's colour, on light and on dark."""
MAX_DIMENSIONS = 64
FEW_EPOCHS = 8
"""Over so few, plotly would set ticks between whole numbers."""
_MARGIN = {"l": 8, "r": 8, "t": 34, "b": 8}


@dataclass(frozen=True, eq=False)
class Curve:
    """A line over epochs or time, or single marks."""

    name: str
    x: Float64[np.ndarray, " n"]
    y: Float64[np.ndarray, " n"]
    colour: str = PETROFF[0]
    is_marks: bool = False


@dataclass(frozen=True)
class Level:
    """A horizontal line with a name."""

    name: str
    y: float


def curves(title: str, x_title: str, y_title: str, lines: Sequence[Curve], levels: Sequence[Level] = ()) -> go.Figure:
    """Lines in one picture. Axis titles carry their units. Where there are five points or more, the first tenth of the longest
    line doesn't stretch the scale: what lies above it is reached by zooming out (double click)."""
    figure = go.Figure()
    for line in lines:
        mode = "markers" if line.is_marks else "lines+markers" if len(line.x) < 3 else "lines"
        figure.add_scatter(
            x=line.x,
            y=line.y,
            name=line.name,
            mode=mode,
            line={"color": line.colour, "width": 2},
            marker={"color": line.colour, "size": 7, "symbol": "x" if line.is_marks else "circle"},
            hovertemplate=f"%{{y:,.2f}} at %{{x:,.6~g}}<extra>{_plain(line.name)}</extra>",
        )
    for level in levels:
        figure.add_hline(level.y, line={"color": GREY, "dash": "dot", "width": 1.5})
        place = {"x": 0.01, "xref": "paper", "y": level.y, "yanchor": "bottom", "showarrow": False}
        figure.add_annotation(text=f"{_plain(level.name)}: {level.y:,.1f}", font={"size": 11}, **place)
    lay_out(figure, title, x_title, y_title)
    if all(bool((line.x % 1 == 0).all()) for line in lines):
        _whole_ticks(figure, max((float(np.ptp(line.x)) for line in lines if len(line.x)), default=0.0))
    limits = _limits(lines, levels)
    if limits is not None:
        figure.update_yaxes(range=limits)
    return figure


def _whole_ticks(figure: go.Figure, span: float) -> None:
    """No half epochs on the axis of a training that has just begun."""
    if span < FEW_EPOCHS:
        figure.update_xaxes(tickmode="linear", tick0=0, dtick=1)


def _limits(lines: Sequence[Curve], levels: Sequence[Level]) -> tuple[float, float] | None:
    drawn = [line for line in lines if not line.is_marks]
    if max((len(line.x) for line in drawn), default=0) < 5:
        return None
    begin = max(float(line.x[len(line.x) // 10]) for line in drawn)
    kept = [line.y[line.x > begin] for line in lines]
    values = np.concatenate([*kept, np.array([level.y for level in levels])])
    low, high = float(values.min()), float(values.max())
    room = 0.06 * (high - low) or 1.0
    return low - room, high + room


def kl_heat_map(epochs: Sequence[int], kl: Float64[np.ndarray, "n latent"]) -> go.Figure:
    """KL of each latent dimension over the epochs, the strongest of the last epoch on top, at most `MAX_DIMENSIONS` of them."""
    order = np.argsort(-kl[-1], kind="stable")[:MAX_DIMENSIONS]
    names = [f"z{dimension}" for dimension in order]
    bar = {"title": {"text": "nats", "side": "right"}, "thickness": 10, "len": 1}
    figure = go.Figure(
        go.Heatmap(
            x=list(epochs),
            y=names,
            z=kl[:, order].T,
            colorscale="Viridis",
            zmin=0,
            colorbar=bar,
            hovertemplate="%{y}, epoch %{x}: %{z:.3f} nats<extra></extra>",
        )
    )
    shown = "" if len(order) == kl.shape[1] else f", the strongest {len(order)} of {kl.shape[1]:,}"
    lay_out(figure, f"KL per latent dimension{shown}", "epoch", "latent dimension")
    figure.update_yaxes(autorange="reversed", type="category", showticklabels=len(order) <= 32, ticks="", showgrid=False)
    _whole_ticks(figure, epochs[-1] - epochs[0])
    figure.update_layout(height=2 * HEIGHT)
    return figure


def kl_spectra(spectra: Mapping[str, Float64[np.ndarray, " latent"]], colours: Sequence[str] = PETROFF) -> go.Figure:
    """The KL of each dimension, sorted, of several runs."""
    lines = []
    for number, (name, kl) in enumerate(spectra.items()):
        ranks = np.arange(1, len(kl) + 1, dtype=np.float64)
        lines.append(Curve(name, ranks, np.sort(kl)[::-1], colours[number % len(colours)]))
    figure = go.Figure()
    for line in lines:
        figure.add_scatter(
            x=line.x,
            y=line.y,
            name=line.name,
            mode="lines+markers",
            marker={"size": 5},
            line={"color": line.colour, "width": 2},
            hovertemplate=f"rank %{{x}}: %{{y:.3f}} nats<extra>{_plain(line.name)}</extra>",
        )
    lay_out(figure, "KL of each latent dimension, sorted", "rank of the dimension", "KL (nats)")
    figure.update_layout(height=360)
    return figure


def posterior_cloud(
    places: Float32[np.ndarray, "n 2"],
    labels: Int64[np.ndarray, " n"] | None,
    class_names: Sequence[str],
    cloud: Float32[np.ndarray, "samples 2"],
    mean: Float32[np.ndarray, " 2"],
) -> go.Figure:
    """A map of encoded images, faint, and above it where samples of q(z|x) of one image are placed, and its mean."""
    figure = go.Figure()
    kinds = [(name, labels == number) for number, name in enumerate(class_names)] if labels is not None else []
    for number, (name, rows) in enumerate(kinds or [("test images", np.ones(len(places), dtype=bool))]):
        figure.add_scattergl(
            x=places[rows, 0],
            y=places[rows, 1],
            name=_plain(name),
            mode="markers",
            marker={"color": PETROFF[number % len(PETROFF)], "size": 3, "opacity": 0.35},
            hovertemplate=f"{_plain(name)}<extra></extra>",
        )
    for name, points, size, symbol, width in (
        (f"{len(cloud)} samples of q(z|x)", cloud, 7, "circle-open", 1.5),
        ("posterior mean", mean[None], 13, "diamond", 2),
    ):
        figure.add_scatter(
            x=points[:, 0],
            y=points[:, 1],
            name=name,
            mode="markers",
            marker={
                "color": INK,
                "size": size,
                "symbol": symbol,
                "line": {"color": INK if width < 2 else "white", "width": width},
            },
            hovertemplate=f"{name}<extra></extra>",
        )
    lay_out(figure, "Where samples of q(z|x) are placed", "", "")
    figure.update_layout(height=420, legend={"itemsizing": "constant"})
    figure.update_xaxes(showticklabels=False, showgrid=False, zeroline=False)
    figure.update_yaxes(showticklabels=False, showgrid=False, zeroline=False)
    return figure


def lay_out(figure: go.Figure, title: str, x_title: str, y_title: str) -> None:
    """Title, axes with their units, and the size that charts of a page share."""
    figure.update_layout(
        title={"text": title, "font": {"size": 14}, "x": 0.01, "y": 0.98},
        height=HEIGHT,
        margin=_MARGIN,
        legend={"orientation": "h", "y": -0.3, "yanchor": "top", "x": 0, "xanchor": "left", "font": {"size": 11}},
        showlegend=len(figure.data) > 1,
        hovermode="closest",
        uirevision=title,
    )
    figure.update_xaxes(title={"text": x_title, "font": {"size": 12}, "standoff": 4})
    figure.update_yaxes(title={"text": y_title, "font": {"size": 12}, "standoff": 14}, automargin=True)


def _plain(text: str) -> str:
    """Text that plotly shows as it is: it reads a little HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
