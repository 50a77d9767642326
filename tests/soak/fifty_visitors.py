"""Fifty visitors of one dashboard at once, each dragging and clicking for two minutes, and one real browser among them.

``make soak``. The visitors speak Streamlit's protocol without a browser (`visitor`): three drags, then a click on the map, with
a pause of two to four seconds before each, as a person takes to look. Reported: release to new strips (from the commit's being
sent to the last byte of its answer), the server's memory, and answers that belong to somebody else. The browser measures what
its own page shows. All of it shares this machine's cores with the server.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "e2e"), str(ROOT / "tests" / "benchmarks")]

from conftest import serve  # noqa: E402
from drag import RELEASES, measure_drag, measure_releases  # noqa: E402
from figures import statistic_of  # noqa: E402
from live import browser, open_watched, window  # noqa: E402
from visitor import Visitor  # noqa: E402

ROWS = 10_000
PAUSE = (2.0, 4.0)
"""Seconds between an answer and the next release, drawn evenly."""
CLICK_EVERY = 4
MOST_MS = 500.0
MOST_MB = 20.0
MOST_DRIFT_MB = 1.0
"""What the memory of a visitor may grow by from the second quarter of the time to the last."""


@dataclass
class Seen:
    """What the visitors saw."""

    waits: list[float] = field(default_factory=list)
    """Seconds from each release to its strips."""
    mixed: list[str] = field(default_factory=list)
    """Answers that weren't the visitor's own."""
    lost: list[str] = field(default_factory=list)
    memory: list[tuple[float, float]] = field(default_factory=list)
    """Seconds, megabytes of the server's own memory."""


def own_memory(pid: int) -> float:
    """Megabytes that a process holds for itself: mapped files are the system's to take back."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found.group(1)) * 1024 / 1e6 if found else 0.0


def busy_seconds(pid: int) -> float:
    """Processor time of a process so far."""
    parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


async def visit(visitor: Visitor, number: int, until: float, seed: int, seen: Seen) -> None:
    """Drag and click until the time is over, and look whether each answer is one's own."""
    choice = random.Random(f"{seed}-{number}")
    turn = choice.randrange(CLICK_EVERY)
    while True:
        await asyncio.sleep(choice.uniform(*PAUSE))
        if time.perf_counter() > until:
            return
        turn += 1
        before = visitor.sliders
        assert before is not None
        if turn % CLICK_EVERY:
            dimension, expected = choice.choice(before.dimensions), before.z.copy()
            low, high = float(before.low[dimension]), float(before.high[dimension])
            expected[dimension] = np.float32(low + (high - low) * choice.uniform(0.05, 0.95))
            seen.waits.append(await visitor.drag(dimension, float(expected[dimension])))
            now = visitor.sliders
            if now is None or now.row != before.row or not np.array_equal(now.z, expected):
                seen.mixed.append(f"visitor {number} dragged dimension {dimension}")
        else:
            row = choice.randrange(ROWS)
            seen.waits.append(await visitor.click(row))
            if visitor.marks["current"] != row or visitor.marks["selection"]["clicked"] != [row]:
                seen.mixed.append(f"visitor {number} clicked row {row}")


async def watch(pid: int, until: float, seen: Seen) -> None:
    """The server's memory, once a second."""
    started = time.perf_counter()
    while time.perf_counter() < until:
        seen.memory.append((time.perf_counter() - started, own_memory(pid)))
        await asyncio.sleep(1)


def look(address: str) -> str:
    """What a drag and some releases take in a real browser meanwhile."""
    with browser() as chromium:
        page = window(chromium).new_page()
        open_watched(page, address)
        drag = measure_drag(page)
        waits = measure_releases(page, RELEASES)
    return (
        f"pointer to picture p95 {statistic_of(drag.latencies, 'p95'):.0f} ms at {drag.frames_a_second:.0f} frames/s; "
        f"release to new strips, drawn, p50 {statistic_of(waits, 'median'):.0f}, p95 {statistic_of(waits, 'p95'):.0f} ms"
    )


async def soak(process: subprocess.Popen[bytes], address: str, options: argparse.Namespace) -> int:
    """Print what was measured; how many of the limits were missed."""
    first = await Visitor.open(address)
    await first.drag_somewhere(random.Random(0))
    await asyncio.sleep(3)
    base = own_memory(process.pid)
    visitors = [first]
    while len(visitors) < options.visitors:
        visitors.append(await Visitor.open(address, f"run=fashion-mnist&row={len(visitors)}"))
        await asyncio.sleep(0.1)
    await asyncio.sleep(3)
    seen, started, busy = Seen(), time.perf_counter(), busy_seconds(process.pid)
    own = time.process_time()
    until = started + options.seconds
    work = [asyncio.create_task(visit(visitor, i, until, options.seed, seen)) for i, visitor in enumerate(visitors)]
    work.append(asyncio.create_task(watch(process.pid, until, seen)))
    looked = None if options.no_browser else asyncio.create_task(asyncio.to_thread(look, address))
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, BaseException):
            seen.lost.append(f"{type(result).__name__}: {result}")
    taken = time.perf_counter() - started
    shares = [(busy_seconds(process.pid) - busy) / taken, (time.process_time() - own) / taken]
    page = await looked if looked else None
    for visitor in visitors:
        await visitor.close()
    return report(seen, base, shares, page, options)


def report(seen: Seen, base: float, shares: list[float], page: str | None, options: argparse.Namespace) -> int:
    """Print it; how many limits were missed."""
    waits = sorted(1000 * wait for wait in seen.waits)
    quarters = np.array_split(np.array([megabytes for _, megabytes in seen.memory]), 4)
    each = (float(quarters[-1].mean()) - base) / options.visitors
    drift = (float(quarters[-1].mean()) - float(quarters[1].mean())) / options.visitors
    p95 = statistic_of(waits, "p95")
    print(
        f"{options.visitors} visitors for {options.seconds:.0f} s, {PAUSE[0]:g} to {PAUSE[1]:g} s between an answer and "
        f"the next release: {len(waits):,} releases, {len(waits) / options.seconds:.1f} a second"
    )
    print(
        f"release to new strips: p50 {statistics.median(waits):.0f}, p95 {p95:.0f} (at most {MOST_MS:.0f}), "
        f"most {waits[-1]:.0f} ms"
    )
    print(f"the server's memory: {base:.0f} MB with one visitor, {each:.1f} MB for each (at most {MOST_MB:.0f})")
    print(f"from the second quarter to the last: {drift:+.2f} MB for each visitor (at most {MOST_DRIFT_MB:g})")
    print(f"cores kept busy: {shares[0]:.2f} by the server, {shares[1]:.2f} by the visitors")
    print(f"answers of somebody else: {len(seen.mixed)}; lost: {len(seen.lost)}")
    for line in (*seen.mixed[:5], *seen.lost[:5]):
        print(f"  {line}")
    if page is not None:
        print(f"in a real browser meanwhile: {page}")
    failed = [p95 > MOST_MS, each > MOST_MB, drift > MOST_DRIFT_MB, bool(seen.mixed), bool(seen.lost)]
    print(f"{failed.count(False)} passed, {failed.count(True)} failed")
    return failed.count(True)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visitors", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-browser", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        process, address = serve(ROOT / "dashboard" / "app.py", log)
        try:
            failed = asyncio.run(soak(process, address, options))
        finally:
            process.terminate()
            process.wait(timeout=60)
        complaints = [line for line in log.read_text(errors="replace").splitlines() if "Error" in line or "Traceback" in line]
        for line in complaints[:10]:
            print(f"the server said: {line}")
    return 1 if failed or complaints else 0


if __name__ == "__main__":
    sys.exit(main())
