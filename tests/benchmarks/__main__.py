"""``make bench``: figures of this machine in one table, each beside its baseline of the same run.

``python tests/benchmarks`` runs the short sections, ``--full`` the long ones too, ``--only`` those that are named. The figures
go to a JSON file, in which a section replaces what it gave before. ``--readme`` measures nothing: it writes the README's table
from the file that is kept with the repository.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from answers import answers
from drag import dragging, dragging_beside_a_training
from figures import Figure
from maps import placement, umap_layouts, umap_unseeded
from package import package, throughput
from pointing import pointing, pointing_at_many
from quality import best, time_to_quality
from results import Mode, Results, begin, from_json, write
from scale import growth, growth_to_a_million
from start import start_up
from table import lines, provenance, with_table

from vae import keep_freed_memory

ROOT = Path(__file__).resolve().parents[2]
KEPT = Path(__file__).with_name("results.json")
MEASURED = ROOT / "build" / "benchmarks.json"
Work = Callable[[], list[Figure]]


@dataclass(frozen=True)
class Benchmark:
    """A section: what measures it, and about how many minutes that takes on two cores. Long ones want ``--full``."""

    work: Callable[[], list[Figure]] | Callable[[Results], list[Figure]]
    minutes: float
    mode: Mode = "quick"
    keeps_curves: bool = False

    @property
    def name(self) -> str:
        """What ``--only`` knows it by."""
        return self.work.__name__


BENCHMARKS = [
    Benchmark(time_to_quality, 50, "full", keeps_curves=True),
    Benchmark(best, 60, "full", keeps_curves=True),
    Benchmark(throughput, 0.9),
    Benchmark(package, 0.7),
    Benchmark(placement, 0.2),
    Benchmark(start_up, 1.7),
    Benchmark(dragging, 0.5),
    Benchmark(pointing, 0.5),
    Benchmark(answers, 0.5),
    Benchmark(dragging_beside_a_training, 1.5, "full"),
    Benchmark(pointing_at_many, 2, "full"),
    Benchmark(umap_layouts, 1.5, "full"),
    Benchmark(umap_unseeded, 1.5, "full"),
    Benchmark(growth, 4, "full"),
    Benchmark(growth_to_a_million, 20, "full"),
]


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and keep; 1 if a section failed."""
    options = _parse(arguments)
    names = [one.name for one in BENCHMARKS]
    if options.readme:
        readme = ROOT / "README.md"
        readme.write_text(with_table(readme.read_text("utf-8"), from_json(KEPT.read_text("utf-8"))), "utf-8")
        return 0
    keep_freed_memory()  # as the server and the command line do
    results, failed = begin(options.json), []
    print(provenance(Results(results.machine, results.versions)))
    for benchmark in BENCHMARKS:
        if benchmark.name in options.only if options.only else options.full or benchmark.mode == "quick":
            print(f"{benchmark.name}, about {benchmark.minutes:g} min", flush=True)
            started = time.perf_counter()
            try:
                figures = benchmark.work(results) if benchmark.keeps_curves else benchmark.work()  # type: ignore[call-arg]
            except Exception:  # NOTE: one that fails doesn't take the others' figures with it
                traceback.print_exc()
                failed.append(benchmark.name)
            else:
                results.add(benchmark.name, benchmark.mode, time.perf_counter() - started, figures)
                print("\n".join(lines(figures)), flush=True)
            results = results.in_order(names)
            write(results, options.json)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    long = "; ".join(f"{one.name}, {one.minutes:g} min" for one in BENCHMARKS if one.mode == "full")
    parser = argparse.ArgumentParser(prog="python tests/benchmarks", description=__doc__)
    parser.add_argument("--full", action="store_true", help=f"the long ones too: {long}")
    parser.add_argument("--only", nargs="+", choices=[one.name for one in BENCHMARKS], help="these alone", metavar="SECTION")
    parser.add_argument("--json", type=Path, default=MEASURED, help="the file of the figures (default: build/benchmarks.json)")
    parser.add_argument("--readme", action="store_true", help="write the README's table from tests/benchmarks/results.json")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
