"""The figures of one machine as JSON: each section with its date, mode and duration; curves that take long are kept."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import time
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import torch
from figures import Figure

from vae import list_devices
from vae.device import bf16_is_fast

PACKAGES = ("torch", "numpy", "streamlit", "plotly", "umap-learn", "numba", "scikit-learn", "playwright")
Mode = Literal["quick", "full"]


@dataclass(frozen=True)
class Section:
    """What one benchmark gave, when, and how long it took. Those of mode ``full`` run only with ``--full``."""

    date: str
    mode: Mode
    seconds: float
    figures: list[Figure]


@dataclass
class Results:
    """Sections by name, in the order of the table, and ``curves``: what a section keeps in order not to do it again."""

    machine: dict[str, Any]
    versions: dict[str, str]
    sections: dict[str, Section] = field(default_factory=dict)
    curves: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, name: str, mode: Mode, seconds: float, figures: list[Figure]) -> None:
        """Put a section in the place of an older one of that name."""
        self.sections[name] = Section(time.strftime("%Y-%m-%d"), mode, round(seconds, 1), figures)

    def in_order(self, names: list[str]) -> Results:
        """The same with its sections in that order; those of other names are left out."""
        kept = {name: self.sections[name] for name in names if name in self.sections}
        return Results(self.machine, self.versions, kept, self.curves)


def this_machine() -> dict[str, Any]:
    """Processor, cores, memory, GPU: what the figures depend on."""
    devices = list_devices()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": devices["cpu"].rpartition(",")[0],
        "bf16": bf16_is_fast(torch.device("cpu")),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(memory / 2**30),
        "gpu": next((name for device, name in devices.items() if device != "cpu"), None),
    }


def these_versions() -> dict[str, str]:
    """Python and the libraries that the time goes to."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def to_json(results: Results) -> str:
    """The file's content. Ratios and whether targets are met are there to be read; `from_json` works them out anew."""
    sections = {
        name: {**asdict(section), "figures": [_figure_values(figure) for figure in section.figures]}
        for name, section in results.sections.items()
    }
    content = {"machine": results.machine, "versions": results.versions, "sections": sections, "curves": results.curves}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _figure_values(figure: Figure) -> dict[str, Any]:
    values = asdict(figure) | {"ratio": figure.ratio, "met": figure.met}
    return {
        name: float(f"{value:.6g}") if isinstance(value, float) else value
        for name, value in values.items()
        if value not in (None, "")
    }


def from_json(text: str) -> Results:
    """The results that `to_json` wrote.

    Raises:
        ValueError, KeyError, TypeError: it is something else.
    """
    content = json.loads(text)
    known = {one.name for one in fields(Figure)}
    sections = {}
    for name, values in content["sections"].items():
        figures = [Figure(**{key: value for key, value in figure.items() if key in known}) for figure in values["figures"]]
        sections[name] = Section(values["date"], values["mode"], values["seconds"], figures)
    return Results(content["machine"], content["versions"], sections, content["curves"])


def begin(path: Path) -> Results:
    """What the file holds, if it was measured on this machine with these versions, else its curves: tables aren't mixed."""
    fresh = Results(this_machine(), these_versions())
    if not path.exists():
        return fresh
    found = from_json(path.read_text("utf-8"))
    for what, then, now in (("machine", found.machine, fresh.machine), ("versions", found.versions, fresh.versions)):
        if then != now:
            changed = ", ".join(f"{key} {then.get(key)} → {now.get(key)}" for key in now if then.get(key) != now.get(key))
            print(f"{path} was measured with another {what} ({changed}): it is begun anew")
            fresh.curves = found.curves
            return fresh
    return found


def write(results: Results, path: Path) -> None:
    """Replace the file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    beside.write_text(to_json(results), "utf-8")
    beside.replace(path)
