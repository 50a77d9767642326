"""Taking a run away: pictures, animations, tables, arrays, a map that stands alone, and ONNX, written as files.

The makers of the files are pure functions that return bytes: `vae.drawing`, `vae.sheets`, `vae.tables`, `vae.html_map` and
`vae.onnx_export`. Here they meet a run and a folder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from vae.config import MapConfig
from vae.drawing import AnimationFormat, Sheet, SheetFormat, draw_sheet
from vae.evaluate import load_test_data
from vae.files import write_atomic
from vae.html_map import map_html
from vae.latent import Path as LatentPath
from vae.onnx_export import decoder_onnx, encoder_onnx, require_onnx
from vae.runs import Run, RunError
from vae.sheets import (
    grid_sheet,
    interpolation_animation,
    interpolation_sheet,
    prior_sheet,
    traversal_animation,
    traversal_sheet,
)
from vae.tables import TableFormat, arrays_npz, encodings_table, table_bytes

What = Literal[
    "all",
    "sheet-prior",
    "sheet-traversal",
    "sheet-grid",
    "sheet-interpolation",
    "animation-traversal",
    "animation-interpolation",
    "table",
    "npz",
    "html",
    "onnx",
]
Format = Literal["default", "png", "svg", "gif", "webp", "csv", "parquet"]
_FAMILIES = {"sheet": SheetFormat, "animation": AnimationFormat, "table": TableFormat}


class ExportError(ValueError):
    """An export that can't be made; the message says what was expected, what was found and what to do."""


def _check(field: str, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise ExportError(f"{field} must be from {low:,} to {high:,}, got {value}")


@dataclass(frozen=True)
class ExportConfig:
    """What is exported.

    Raises:
        ExportError: a value out of range, or a format that doesn't go with what is exported.
    """

    what: What = "all"
    """What to export; all is every kind in every format. animation-...: there and back, for ever."""
    format: Format = "default"
    """Of sheets png or svg, of animations gif or webp, of the table csv or parquet; by default the first."""
    dimension: int | None = None
    """The latent dimension that a traversal moves; by default the one of highest KL."""
    range: tuple[float, float] = (-3.0, 3.0)
    """The values between which a traversal moves it."""
    row: int = 0
    """The test image from whose posterior mean a traversal starts."""
    rows: tuple[int, int] = (0, 1)
    """The two test images that an interpolation joins."""
    path: LatentPath = "linear"
    """The way an interpolation takes."""
    steps: int = 9
    """Pictures in a row of a sheet of a traversal or an interpolation."""
    frames: int = 31
    """Frames of an animation, one way."""
    duration: int = 80
    """Milliseconds a frame of an animation, in steps of 10."""
    samples: int = 64
    """Samples of the prior in a sheet."""
    seed: int = 0
    """Seeds the samples of the prior."""

    def __post_init__(self) -> None:
        _check("steps", self.steps, 2, 50)
        _check("frames", self.frames, 2, 500)
        _check("duration", self.duration, 20, 10_000)
        _check("samples", self.samples, 1, 1024)
        _check("seed", self.seed, 0, 2**32 - 1)
        for value in self.range:
            _check("range", value, -100, 100)
        if self.range[0] >= self.range[1]:
            raise ExportError(f"range must rise, got {self.range[0]:g} to {self.range[1]:g}")
        if self.duration % 10:
            raise ExportError(f"duration must be a multiple of 10 ms (a GIF counts in hundredths), got {self.duration}")
        self._check_format()

    def _check_format(self) -> None:
        if self.format == "default":
            return
        allowed = get_args(_FAMILIES.get(self.what.split("-")[0]))
        if not allowed:
            raise ExportError(f"format goes with a sheet, an animation or the table, not with {self.what}")
        if self.format not in allowed:
            raise ExportError(f"format of {self.what} must be {' or '.join(allowed)}, got {self.format}")

    def formats(self, family: Any) -> tuple[Any, ...]:
        """The formats that are written, of a family: `SheetFormat`, `AnimationFormat` or `TableFormat`."""
        choices: tuple[str, ...] = get_args(family)
        if self.what == "all":
            return choices
        return choices[:1] if self.format == "default" else (self.format,)


def export_run(run: Run, config: ExportConfig, folder: Path, overwrite: bool = False) -> Iterator[tuple[Path, int]]:
    """Write what ``config`` asks for into ``folder``, which is made if it isn't there; gives each file and its size in bytes
    when it is written. What can be refused is refused before the first file.

    Raises:
        ExportError: a file is already there and ``overwrite`` is false, or a row or dimension isn't.
        OnnxError: ONNX is asked for and its packages aren't installed.
        RunError, DataError: the run or its data can't be used, or the page is asked for and the run has no map.
    """
    makers = _makers(_Source(run, config), config)
    existing = [folder / name for name in makers if (folder / name).exists()]
    if existing and not overwrite:
        raise ExportError(f"{existing[0]}: already there: choose another folder with --out, or replace it with --overwrite")
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in makers.items():
        content = make()
        write_atomic(folder / name, content)
        yield folder / name, len(content)


class _Source:
    """A run and all that is made of it, read and checked when it is opened.

    Raises:
        ExportError, RunError, DataError: as `export_run`.
    """

    def __init__(self, run: Run, config: ExportConfig) -> None:
        self.name, self.digest = run.path.resolve().name, run.weights_digest()
        self.model, self.encodings, self.data = run.load_model(), run.load_encodings(), load_test_data(run)
        if len(self.encodings) != len(self.data):
            raise RunError(
                f"{run.path}: {len(self.encodings):,} encodings for {len(self.data):,} test images: "
                f"remake them with 'python -m vae evaluate {run.name}'"
            )
        kept = sorted(run.list_maps(), key=lambda parameters: parameters != MapConfig())
        self.maps = [run.load_map(parameters) for parameters in kept]
        """The default map first, then the newest."""
        self.flat = next((found for found in self.maps if found.config.components == 2), None)
        """The first of them that is flat."""
        if self.flat is None and config.what in ("all", "html"):
            raise RunError(f"{run.path}: no flat map that fits the run: make one with 'python -m vae map {run.name}'")
        for row in (config.row, *config.rows):
            if not 0 <= row < len(self.data):
                raise ExportError(f"a row must be from 0 to {len(self.data) - 1:,}, got {row}")
        self.dimension = int(self.encodings.order[0]) if config.dimension is None else config.dimension
        if not 0 <= self.dimension < self.model.config.latent:
            raise ExportError(f"dimension must be from 0 to {self.model.config.latent - 1:,}, got {self.dimension}")

    def subject(self, row: int) -> str:
        """What a caption calls a test image."""
        name = self.data.class_name(row)
        return f"test image {row}" + (f" ({name})" if name else "")


def _makers(source: _Source, config: ExportConfig) -> dict[str, Callable[[], bytes]]:
    """What makes each file that is asked for, by the file's name."""
    kinds: tuple[What, ...] = get_args(What)[1:] if config.what == "all" else (config.what,)
    return {f"{source.name}-{end}": make for kind in kinds for end, make in _FILES[kind](source, config).items()}


def _prior(source: _Source, config: ExportConfig) -> _Makers:
    def make() -> Sheet:
        return prior_sheet(source.name, source.model, config.samples, config.seed)

    return _sheet_makers(f"prior-seed{config.seed}", make, config)


def _traversal(source: _Source, config: ExportConfig) -> _Makers:
    z, subject = source.encodings.mean[config.row], source.subject(config.row)

    def make() -> Sheet:
        return traversal_sheet(source.name, source.model, z, source.dimension, *config.range, config.steps, subject)

    return _sheet_makers(f"traversal-z{source.dimension}-row{config.row}", make, config)


def _grid(source: _Source, config: ExportConfig) -> _Makers:
    z, subject = source.encodings.mean[config.row], source.subject(config.row)

    def make() -> Sheet:
        return grid_sheet(source.name, source.model, source.encodings, z, *config.range, config.steps, subject)

    return _sheet_makers(f"grid-row{config.row}", make, config)


def _interpolation(source: _Source, config: ExportConfig) -> _Makers:
    start, end = source.encodings.mean[list(config.rows)]
    subjects = source.subject(config.rows[0]), source.subject(config.rows[1])

    def make() -> Sheet:
        return interpolation_sheet(source.name, source.model, start, end, config.steps, config.path, subjects)

    return _sheet_makers(_between(config), make, config)


def _sheet_makers(end: str, make: Callable[[], Sheet], config: ExportConfig) -> _Makers:
    def draw(kind: SheetFormat) -> bytes:
        return draw_sheet(make(), kind)

    return {f"{end}.{kind}": partial(draw, kind) for kind in config.formats(SheetFormat)}


def _moving_traversal(source: _Source, config: ExportConfig) -> _Makers:
    z, subject = source.encodings.mean[config.row], source.subject(config.row)

    def make(kind: AnimationFormat) -> bytes:
        what = source.name, source.model, z, source.dimension
        return traversal_animation(*what, *config.range, config.frames, subject, kind, config.duration)

    end = f"traversal-z{source.dimension}-row{config.row}"
    return {f"{end}.{kind}": partial(make, kind) for kind in config.formats(AnimationFormat)}


def _moving_interpolation(source: _Source, config: ExportConfig) -> _Makers:
    start, end = source.encodings.mean[list(config.rows)]
    subjects = source.subject(config.rows[0]), source.subject(config.rows[1])

    def make(kind: AnimationFormat) -> bytes:
        what = source.name, source.model, start, end
        return interpolation_animation(*what, config.frames, config.path, subjects, kind, config.duration)

    return {f"{_between(config)}.{kind}": partial(make, kind) for kind in config.formats(AnimationFormat)}


def _between(config: ExportConfig) -> str:
    return f"interpolation-{config.path}-rows{config.rows[0]}-{config.rows[1]}"


def _table(source: _Source, config: ExportConfig) -> _Makers:
    def make(kind: TableFormat) -> bytes:
        return table_bytes(encodings_table(source.encodings, source.data, source.flat), kind)

    return {f"encodings.{kind}": partial(make, kind) for kind in config.formats(TableFormat)}


def _npz(source: _Source, _: ExportConfig) -> _Makers:
    what = source.encodings, source.data, source.maps, source.name, source.digest
    return {"encodings.npz": partial(arrays_npz, *what)}


def _html(source: _Source, _: ExportConfig) -> _Makers:
    if source.flat is None:
        raise ValueError("a page needs a flat map")  # refused when the source was opened
    what = source.name, source.encodings, source.data, source.flat, source.digest
    return {"map.html": partial(map_html, *what)}


def _onnx(source: _Source, _: ExportConfig) -> _Makers:
    require_onnx()
    parts = {"encoder": encoder_onnx, "decoder": decoder_onnx}
    return {f"{end}.onnx": partial(make, source.model, source.name, source.digest) for end, make in parts.items()}


_Makers = dict[str, Callable[[], bytes]]
_FILES: dict[What, Callable[[_Source, ExportConfig], _Makers]] = {
    "sheet-prior": _prior,
    "sheet-traversal": _traversal,
    "sheet-grid": _grid,
    "sheet-interpolation": _interpolation,
    "animation-traversal": _moving_traversal,
    "animation-interpolation": _moving_interpolation,
    "table": _table,
    "npz": _npz,
    "html": _html,
    "onnx": _onnx,
}
