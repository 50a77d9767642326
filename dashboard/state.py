"""What a visitor has chosen, typed: run, image, latent point, selection, colouring, map, zoom. ``links`` puts it in the URL."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import streamlit as st
from jaxtyping import Float32

from dashboard.components.latent_map import Select, View
from dashboard.components.latent_sliders import Group, History, Strips
from dashboard.resources import LoadedRun, Subject
from vae import MapConfig, list_runs

Origin = Literal["mean", "posterior", "prior", "moved", "map", "selection", "link"]


@dataclass(frozen=True, eq=False)
class Place:
    """Where a visitor stands: an image, and a latent point with where it came from."""

    row: int = 0
    outside: Subject | None = None
    """An image from outside that is looked at instead of ``row``."""
    z: Float32[np.ndarray, " latent"] | None = None
    """The current latent point; None stands for the posterior mean of the image that is looked at."""
    origin: Origin = "mean"


@dataclass
class Visit:
    """The state that pages share, one per visitor."""

    run: str
    history: History[Place] = field(default_factory=lambda: History((Place(),)))
    """The places that were visited: what undo and redo walk along."""
    seed: int = 0
    """Counts the samples drawn, so that each is another and can be drawn again."""
    weights: str = ""
    """The weights that all of this belongs to."""
    notes: list[str] = field(default_factory=list)
    """Sentences to show once."""

    selection: Select | None = None
    """What is chosen on the map."""
    summed_up: tuple[int, ...] = ()
    """The rows that the page, when it last ran as a whole, took for the selection."""
    groups: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Selections kept under a name: rows of the test set."""
    colouring: str = "class"
    """What the map is coloured by: a name of `dashboard.colourings`."""
    map: MapConfig | None = None
    """The map that was asked for; None is the run's default."""
    view: View | None = None
    """The part of the map that is shown; None is the whole map."""

    generation: int = 1
    """Counts what the sliders must be told of: each change of place, of the open sliders or of the map."""
    answers: int | None = None
    """The number of the sliders' commit that the current generation answers."""
    unfolded: frozenset[Group] = frozenset()
    strips: Strips | None = None
    """The filmstrips of the current generation, once they are made."""
    instance: str = field(default_factory=lambda: secrets.token_hex(4))
    """Names this visit to what runs in the browser."""

    @property
    def place(self) -> Place:
        """Where the visitor stands now."""
        return self.history.current

    @property
    def row(self) -> int:
        """The test image that is, or was last, looked at."""
        return self.place.row

    @property
    def outside(self) -> Subject | None:
        """The image from outside that is looked at, if one is."""
        return self.place.outside

    @property
    def z(self) -> Float32[np.ndarray, " latent"] | None:
        """The current latent point; None stands for the posterior mean of the image that is looked at."""
        return self.place.z

    @property
    def origin(self) -> Origin:
        """Where the current point came from."""
        return self.place.origin

    def point(self, loaded: LoadedRun) -> Float32[np.ndarray, " latent"]:
        """The current latent point itself."""
        return self.subject(loaded).mean if self.z is None else self.z

    def subject(self, loaded: LoadedRun) -> Subject:
        """The image that is looked at."""
        return loaded.subject(self.row) if self.outside is None else self.outside

    @property
    def selection_rows(self) -> tuple[int, ...]:
        """The rows of a selection of two images or more, ascending; one alone is the image that is looked at."""
        return () if self.selection is None or len(self.selection.rows) < 2 else self.selection.rows

    # --- moves -------------------------------------------------------------------------------------------------------

    def select(self, row: int) -> None:
        """Go to a test image, at its posterior mean."""
        self._visit(Place(row))

    def show(self, outside: Subject) -> None:
        """Go to an image from outside, at its posterior mean."""
        self._visit(Place(self.row, outside))

    def go(self, z: Float32[np.ndarray, " latent"] | None, origin: Origin) -> None:
        """Go to a point of latent space (None: the posterior mean); the image stays."""
        self._visit(replace(self.place, z=None if z is None else z.astype(np.float32), origin=origin))

    def undo(self) -> None:
        """Back to the place before, if there is one."""
        self.history = self.history.undo()
        self.renew()

    def redo(self) -> None:
        """Forward again, if there is anywhere to go."""
        self.history = self.history.redo()
        self.renew()

    def open_map(self, config: MapConfig) -> None:
        """Show another map. What was drawn on the last one, and its zoom, belong to that."""
        self.map, self.view = config, None
        if self.selection is not None and self.selection.polygon is not None:
            self.selection = None
        self.renew()

    def renew(self, answers: int | None = None) -> None:
        """Have the sliders told anew; ``answers`` is the number of their commit, if it is one that asks for it."""
        self.generation += 1
        self.answers = answers
        self.strips = None

    def begin(self, place: Place) -> None:
        """Start over at a place: nothing to undo, nothing chosen."""
        self.history = History((place,))
        self.selection, self.view, self.map, self.groups = None, None, None, {}
        self.renew()

    def _visit(self, place: Place) -> None:
        self.history = self.history.go(place)
        self.renew()


def opening_run(names: Sequence[str]) -> str | None:
    """The run, of these, that a visitor sees who asks for none; None where there is none."""
    return "fashion-mnist" if "fashion-mnist" in names else next(iter(names), None)


def current_visit() -> Visit | None:
    """The visitor's state, its run read from the URL the first time; None where there is no run at all."""
    if "visit" not in st.session_state:
        names = list_runs()
        preferred = opening_run(names)
        if preferred is None:
            return None
        asked = st.query_params.get("run", "")
        visit = Visit(run=asked if asked in names else preferred)
        if asked and asked not in names:
            visit.notes.append(f"The link names a run that isn't here; showing {visit.run} instead.")
        st.session_state["visit"] = visit
    kept: Visit = st.session_state["visit"]
    return kept
