"""Results as a table: in the terminal, and between two markers of the README, where no figure is typed by hand."""

from __future__ import annotations

import math

from figures import Figure
from results import Results

BEGIN = "<!-- figures: begin; written by `python tests/benchmarks --readme` from tests/benchmarks/results.json -->"
END = "<!-- figures: end -->"
HEAD = ("what", "figure", "beside it", "target")


def number(value: float) -> str:
    """Three significant digits, whole from 100 up, thousands apart."""
    rounded = float(f"{value:.3g}")
    if rounded == 0 or abs(rounded) >= 100:
        return f"{value:,.0f}"
    return f"{rounded:.{2 - math.floor(math.log10(abs(rounded)))}f}"


def amount(value: float, unit: str) -> str:
    """A value with its unit."""
    shown = f"{value:,.2f}" if unit.startswith("nats") else number(value)
    return f"{shown} {unit}".strip()


def taken(figure: Figure) -> str:
    """Of how many measurements the value is what."""
    return "" if figure.statistic == "once" else f"{figure.statistic} of {figure.n:,}"


def cells(figure: Figure) -> tuple[str, str, str, str]:
    """The four cells of a figure's row, as `HEAD`."""
    beside = ""
    if figure.baseline_value is not None:
        beside = f"{figure.baseline}: {amount(figure.baseline_value, figure.unit)}"
        beside += f", ratio {number(figure.ratio)}" if figure.ratio is not None else ""
    bound = "at most" if figure.better == "lower" else "at least"
    targets = [f"{bound} {figure.target:,g}"] if figure.target is not None else []
    targets += [f"{figure.target_ratio:,g} times"] if figure.target_ratio is not None else []
    target = f"{', '.join(targets)}: {'met' if figure.met else 'missed'}" if targets else ""
    value = amount(figure.value, figure.unit)
    value += f" ({taken(figure)})" if taken(figure) else ""
    return figure.name + (f" ({figure.note})" if figure.note else ""), value, beside, target


def lines(figures: list[Figure]) -> list[str]:
    """The rows for a terminal."""
    return [f"  {what:58} {value:34} {beside:54} {target}".rstrip() for what, value, beside, target in map(cells, figures)]


def provenance(results: Results) -> str:
    """Where, when and with what it was measured: a sentence."""
    dates = sorted({section.date for section in results.sections.values()})
    when = f"; {' to '.join(dict.fromkeys((dates[0], dates[-1])))}" if dates else ""
    machine = results.machine
    where = f"{machine['processor']}, {machine['cores']} cores{' with fast bf16' if machine['bf16'] else ''}, "
    where += f"{machine['memory_gib']} GiB, {machine['gpu'] or 'no GPU'}"
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    return f"{where}; {versions}{when}."


def durations(results: Results) -> str:
    """How long the quick sections took together, and each of the others: a sentence."""
    quick = sum(section.seconds for section in results.sections.values() if section.mode == "quick")
    parts = [f"the quick sections {quick / 60:.1f} minutes"] if quick else []
    parts += [f"`{name}` {section.seconds / 60:.1f}" for name, section in results.sections.items() if section.mode == "full"]
    return f"Measuring took {', '.join(parts)}." if parts else ""


def markdown(results: Results) -> str:
    """The README's table: every figure that has a baseline or a target, and what it was measured with."""
    shown = [
        figure
        for section in results.sections.values()
        for figure in section.figures
        if figure.baseline or figure.met is not None
    ]
    rows = [HEAD, ("---",) * len(HEAD), *map(cells, shown)]
    table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
    return f"{provenance(results)} {durations(results)}".strip() + f"\n\n{table}"


def between(readme: str) -> str:
    """What stands between the two markers.

    Raises:
        ValueError: a marker is missing, or there more than once.
    """
    if readme.count(BEGIN) != 1 or readme.count(END) != 1:
        raise ValueError(f"the README needs each of these lines once:\n{BEGIN}\n{END}")
    return readme.partition(BEGIN)[2].partition(END)[0].strip()


def with_table(readme: str, results: Results) -> str:
    """The README with that table in the place of the old one.

    Raises:
        ValueError: as `between`.
    """
    between(readme)
    head, _, rest = readme.partition(BEGIN)
    return f"{head}{BEGIN}\n\n{markdown(results)}\n\n{END}{rest.partition(END)[2]}"
