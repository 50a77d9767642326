"""The command line, ``python -m vae COMMAND``. A command is a dataclass, an option one of its fields."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
import tyro
from tqdm import tqdm

import vae.distributed as distributed
from vae.config import PRESETS, ConfigError, MapConfig, ModelConfig, PresetName, TrainConfig, to_json
from vae.curves import CurvesError
from vae.data import DataError, load_dataset
from vae.device import DeviceError, choose_device, give_way, keep_freed_memory
from vae.evaluate import Report, evaluate
from vae.export import ExportConfig, ExportError, export_run
from vae.fit import Event, Stopped, fit, make_map, resume
from vae.full_evaluation import FullConfig, evaluate_fully
from vae.images import MAX_BYTES, ImageError, prepare, read_picture
from vae.jobs import Job, JobError, run_job
from vae.judging import find_reference, report_verdicts
from vae.onnx_export import OnnxError
from vae.pack import Imported, import_dataset
from vae.runs import Run, RunError, open_run, run_path
from vae.signals import SignalError, measure
from vae.staged import is_in_place, is_staged, staged_job, upload_folder
from vae.svi_run import fit_svi
from vae.svi_training import SviConfig, SviEpoch
from vae.train import Epoch, Note, Step

Inlined = tyro.conf.arg(name="")
SHOWN_LEFT_OUT = 5
PICTURES = (ImageError, SignalError)
T = TypeVar("T")


class UsageError(ValueError):
    """A command line that can't be carried out."""


@dataclass(frozen=True)
class Train:
    """Train a run, then evaluate it and make its map. Ctrl-C stops and saves; --resume continues.

    On several GPUs, or in several processes on CPUs: torchrun --nproc-per-node=N -m vae train ..."""

    run: str
    """The run's name, a folder under checkpoints/."""
    model: Annotated[ModelConfig, Inlined]
    training: Annotated[TrainConfig, Inlined]
    preset: PresetName = "fast"
    """A complete configuration; the options below change single fields of it."""
    dataset: str = "fashion-mnist"
    """A data set under data/."""
    device: str = "auto"
    """auto (cuda, then mps, then cpu) or the name of one that this machine has."""
    resume: bool = False
    """Continue the run from its last saved step, with its own configuration."""
    tensorboard: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Write the curves for TensorBoard too, into the run's folder tensorboard/."""
    background: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Give way to other programs: niceness 10, and one core left free. Fewer threads add up in another order, so the last
    digits of the results may differ; nothing else does."""


@dataclass(frozen=True)
class Evaluate:
    """Measure a run on all test images and keep the report in the run."""

    run: tyro.conf.Positional[str]
    """A name under checkpoints/, or a path."""
    samples: int = 1
    """Draws of z per image."""
    seed: int = 0
    """Seeds those draws."""
    full: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Every estimator (minutes): bounds of log p(x), gaps, diagnostics. Interrupted, the same command goes on."""
    sizes: Annotated[FullConfig, Inlined] = dataclasses.field(default_factory=FullConfig)
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print JSON instead of a table."""
    device: str = "auto"
    """auto (cuda, then mps, then cpu) or the name of one that this machine has."""


@dataclass(frozen=True)
class MakeMap:
    """Lay a run's test means out in two or three dimensions and keep the map in the run. Ctrl-C stops and keeps nothing."""

    run: tyro.conf.Positional[str]
    """A name under checkpoints/, or a path."""
    map: Annotated[MapConfig, Inlined] = dataclasses.field(default_factory=MapConfig)


@dataclass(frozen=True)
class Export:
    """Write pictures, animations, tables, arrays, a page with the map, or ONNX of a run."""

    run: tyro.conf.Positional[str]
    """A name under checkpoints/, or a path."""
    export: Annotated[ExportConfig, Inlined] = dataclasses.field(default_factory=ExportConfig)
    out: Path = Path("export")
    """The folder to write into, made if it isn't there."""
    overwrite: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Replace files that are already there."""


@dataclass(frozen=True)
class Import:
    """Pack images of your own into a data set under data/. Ctrl-C stops; the same command goes on."""

    source: tyro.conf.Positional[Path]
    """A folder or a zip file of pictures (a sub-folder per class, or flat), or NPZ, NPY, IDX, CSV or Parquet."""
    name: str
    """The data set's name, a folder under data/."""
    size: int | None = None
    """Fit the images into a square of this side, 16 to 128, divisible by 4; else they keep their size and are padded."""
    grey: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Make colour images grey."""
    validation_fraction: float | None = None
    """Share of the training images held out; None: a twelfth, or the validation images that the source has."""


@dataclass(frozen=True)
class Svi:
    """Train a run by stochastic variational inference, each image with its own q (small data sets; can't be resumed)."""

    run: str
    """The run's name, a folder under checkpoints/."""
    svi: Annotated[SviConfig, Inlined] = dataclasses.field(default_factory=SviConfig)
    preset: PresetName = "fast"
    """The model's architecture is this preset's."""
    dataset: str = "fashion-mnist"
    """A data set under data/."""
    images: int = 2000
    """The first so many training images."""
    device: str = "auto"
    """auto (cuda, then mps, then cpu) or the name of one that this machine has."""


@dataclass(frozen=True)
class Judge:
    """How often a run's verdicts are false alarms, and what else they flag; or the verdict on some pictures."""

    run: tyro.conf.Positional[str]
    """A name under checkpoints/, or a path."""
    pictures: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Pictures to judge (PNG, JPEG, WebP, BMP, GIF); none: the rates on the test split and on images of other kinds."""
    device: str = "auto"
    """auto (cuda, then mps, then cpu) or the name of one that this machine has."""


COMMANDS: dict[str, type[Train | Evaluate | MakeMap | Export | Import | Svi | Judge]] = {
    "train": Train,
    "svi": Svi,
    "evaluate": Evaluate,
    "verdict": Judge,
    "map": MakeMap,
    "export": Export,
    "import": Import,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status: 0 done, 2 bad input (one line on stderr), 130 stopped by a signal."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0 if arguments else 2
    try:
        if arguments[0] not in COMMANDS:
            raise UsageError(f"expected one of the commands {', '.join(COMMANDS)}, got {arguments[0]!r}")
        keep_freed_memory()
        return _carry_out(arguments[0], arguments[1:])
    except (
        UsageError,
        ConfigError,
        CurvesError,
        DataError,
        DeviceError,
        JobError,
        RunError,
        ExportError,
        OnnxError,
        *PICTURES,
    ) as error:
        return _complain(str(error), 2)
    except OSError as error:
        return _complain(f"{error.filename or 'a file'}: {error.strerror or error}", 2)
    except (FloatingPointError, distributed.PeerError) as error:
        return _complain(str(error), 1)
    except KeyboardInterrupt:
        return 130


def _complain(sentence: str, status: int) -> int:
    number = os.environ.get("RANK", "0") if "TORCHELASTIC_RUN_ID" in os.environ else "0"
    print(f"error: {sentence}" if number == "0" else f"error in process {number}: {sentence}", file=sys.stderr)
    return status


def _usage() -> str:
    lines = [f"  {name:10}{(kind.__doc__ or '').splitlines()[0]}" for name, kind in COMMANDS.items()]
    return "\n".join(["usage: python -m vae COMMAND ... (COMMAND --help lists its options)", "", *lines])


def _carry_out(name: str, arguments: list[str]) -> int:
    if name == "train":
        return _train(arguments)
    if name == "evaluate":
        return _evaluate(_parse(Evaluate, name, arguments))
    if name == "svi":
        return _svi(_parse(Svi, name, arguments))
    if name == "verdict":
        return _judge(_parse(Judge, name, arguments))
    if name == "map":
        return _map(_parse(MakeMap, name, arguments))
    if name == "export":
        return _export(_parse(Export, name, arguments))
    return _import(_parse(Import, name, arguments))


def _parse(kind: Callable[..., T], command: str, arguments: list[str], **extra: Any) -> T:
    """tyro's reading of the arguments, its boxed complaint folded into one sentence."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            parsed: T = tyro.cli(kind, prog=f"python -m vae {command}", args=arguments, **extra)
            return parsed
    except SystemExit as stop:
        if not stop.code:
            raise
        text = re.sub(r"\x1b\[[0-9;]*m", "", complaint.getvalue())
        lines = [line.strip("│╭╮╰╯─ \n") for line in text.splitlines() if line.strip("- ")]
        reason = " ".join(line for line in lines[1:] if line).split("Argument helptext")[0].split("For full helptext")[0]
        raise UsageError(f"{reason.strip()} (python -m vae {command} --help lists the options)") from None


def _train(arguments: list[str]) -> int:
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for option in ("--run", "--preset", "--dataset"):
        first.add_argument(option)
    first.add_argument("--resume", action="store_true")
    try:
        early, _ = first.parse_known_args(arguments)
    except argparse.ArgumentError:
        early = argparse.Namespace(run=None, preset=None, dataset=None, resume=False)
    stored = open_run(early.run) if early.resume and early.run else None
    if stored is not None:
        stored.check_resumable()  # before its preset is taken for one of the options
    options = _parse(Train, "train", arguments, default=_train_defaults(early.preset, early.dataset, stored))
    if options.background:
        give_way()
    if stored is not None:
        return _resume(options, stored)
    images = load_dataset(options.dataset, "test")
    channels, height, width = images.image_shape
    model = dataclasses.replace(options.model, channels=channels, height=height, width=width)

    def work(device: torch.device, show: Callable[[Event], None]) -> Run:
        return fit(options.run, options.dataset, model, options.training, options.preset, device, show, options.tensorboard)

    return _carried_through(work, options.run, options.device)


def _train_defaults(preset: str | None, dataset: str | None, stored: Run | None) -> Train:
    missing = tyro.MISSING if stored is None else stored.name
    if stored is not None:
        config = stored.config
        name: Any = config.preset
        return Train(missing, config.model, config.train, preset=name, dataset=config.dataset, resume=True)
    name = preset if preset in PRESETS else "fast"
    chosen = PRESETS[name]
    model = chosen.model
    with contextlib.suppress(DataError, ConfigError):  # what is wrong is told when the options have been read
        model = chosen.model_for(load_dataset(dataset, "test").image_shape) if dataset else model
    # NOTE: the data set's shape comes later; until then one that any number of stages can halve.
    model = dataclasses.replace(model, channels=1, height=64, width=64)
    return Train(missing, model, chosen.train, preset=name)


def _resume(options: Train, stored: Run) -> int:
    config = stored.config
    asked = dataclasses.asdict(options.model) | dataclasses.asdict(options.training)
    asked |= {"preset": options.preset, "dataset": options.dataset}
    kept = dataclasses.asdict(config.model) | dataclasses.asdict(config.train)
    kept |= {"preset": config.preset, "dataset": config.dataset}
    changed = [f"{field} is {kept[field]!r}, not {asked[field]!r}" for field in kept if kept[field] != asked[field]]
    if changed:
        raise UsageError(
            f"--resume continues run {stored.name} as it was configured: its {changed[0]}; start a new run to change it"
        )
    return _carried_through(
        lambda device, show: resume(stored.name, device, show, options.tensorboard), stored.name, options.device
    )


def _carried_through(work: Callable[[torch.device, Callable[[Event], None]], Run], name: str, device: str) -> int:
    """A training, in one process or several, of which the first shows how it goes."""
    with distributed.joined(device) as own:
        if distributed.rank() == 0:
            return _shown(lambda show: work(own, show), name)
        try:
            work(own, lambda _: None)
        except Stopped:
            return 130
        return 0


def _shown(work: Callable[[Callable[[Event], None]], Run], name: str) -> int:
    try:
        with _Progress() as show:
            run = work(show)
    except Stopped:
        print(f"stopped and saved; continue with: python -m vae train --run {name} --resume", file=sys.stderr)
        return 130
    print(f"\nrun {run.name} in {run.path}")
    reports = run.reports()
    if reports:
        print(_table(Report(**reports["samples=1,seed=0"])))
    return 0


class _Progress:
    """A bar with the rate and the time left, and a line an epoch."""

    def __enter__(self) -> Callable[[Event], None]:
        self._bar: tqdm[Any] | None = None
        return self._show

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def _show(self, event: Event) -> None:
        if isinstance(event, Step):
            if self._bar is None:
                self._bar = tqdm(total=event.total_steps, initial=event.step - 1, unit="step", dynamic_ncols=True)
            self._bar.update()
            self._bar.set_postfix_str(f"epoch {event.epoch}, -ELBO {-event.batch.elbo:.1f} nats", refresh=False)
        elif isinstance(event, Epoch):
            line = (
                f"epoch {event.epoch:3}  -ELBO train {-event.train.elbo:.2f}  validation {-event.validation.elbo:.2f} "
                f"nats per image  (KL {event.validation.kl:.2f}, {event.active_units} active units)  "
                f"{event.images_per_second:,.0f} images/s"
            )
            tqdm.write(line + ("  best" if event.best else ""), file=sys.stderr)
        elif isinstance(event, Note):
            tqdm.write(f"note: {event.text}", file=sys.stderr)
        elif event != "training":
            if self._bar is not None:
                self._bar.close()
            print(f"{event} ...", file=sys.stderr)


def _opened(where: str) -> Run:
    """A run by name if there is one of that name, else by path."""
    try:
        if (run_path(where) / "config.json").exists():
            return open_run(where)
    except RunError:
        return open_run(Path(where))
    return open_run(Path(where)) if Path(where).is_dir() else open_run(where)


def _evaluate(options: Evaluate) -> int:
    if not 1 <= options.samples <= 100_000:
        raise UsageError(f"--samples must be from 1 to 100,000, got {options.samples}")
    if not 0 <= options.seed < 2**32:
        raise UsageError(f"--seed must be from 0 to 4,294,967,295, got {options.seed}")
    if not options.full and options.sizes != FullConfig():
        raise UsageError("the numbers of images, steps, chains and draws belong to a full evaluation: add --full")
    if options.full and options.samples != 1:
        raise UsageError("--samples is of the quick evaluation; with --full say --elbo-samples or --importance-samples")
    run, device = _opened(options.run), choose_device(options.device)
    if options.full:
        return _evaluate_fully(run, options, device)
    # NOTE: the delay keeps the bar off the screen until there is progress: what is refused says one line.
    with tqdm(unit="image", desc="evaluating", dynamic_ncols=True, delay=1e-3) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        report = evaluate(run, options.samples, options.seed, device, show)
    print(json.dumps(dataclasses.asdict(report), indent=2) if options.json else _table(report))
    return 0


def _evaluate_fully(run: Run, options: Evaluate, device: torch.device) -> int:
    try:
        with tqdm(dynamic_ncols=True, delay=1e-3, bar_format="{desc:12}{percentage:3.0f}%|{bar}| {elapsed}<{remaining}") as bar:

            def show(stage: str, done: int, total: int) -> None:
                if bar.desc != f"{stage}: ":
                    bar.reset(total)
                    bar.set_description(stage)
                bar.update(done - bar.n)

            report = evaluate_fully(run, options.sizes, options.seed, device, show)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    print(json.dumps(dataclasses.asdict(report), indent=2) if options.json else report.table())
    return 0


def _table(report: Report) -> str:
    floor = [] if report.entropy_floor is None else [("entropy floor of -ELBO", f"{report.entropy_floor:10.2f}")]
    rows = [
        ("-ELBO (lower is better)", f"{-report.elbo:10.2f} ± {report.elbo_standard_error:.2f}"),
        ("reconstruction, -E[log p(x|z)]", f"{-report.reconstruction:10.2f}"),
        ("KL(q(z|x) || p(z))", f"{report.kl:10.2f}"),
        *floor,
        ("active units", f"{report.active_units:7} of {len(report.kl_per_dimension)}"),
    ]
    head = (
        f"{report.dataset}, {report.split} split: means over {report.examples:,} images, {report.samples} sample(s) of z, "
        f"{report.unit}, {report.likelihood} likelihood"
    )
    return "\n".join([head, *(f"  {label:32}{value}" for label, value in rows)])


def _svi(options: Svi) -> int:
    if not 1 <= options.images <= 1_000_000:
        raise UsageError(f"--images must be from 1 to 1,000,000, got {options.images}")
    model = PRESETS[options.preset].model_for(load_dataset(options.dataset, "test").image_shape)
    device = choose_device(options.device)
    with tqdm(unit="step", dynamic_ncols=True, delay=1e-3) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        def tell(epoch: SviEpoch) -> None:
            line = f"epoch {epoch.epoch:3}  -ELBO own q {-epoch.elbo:.2f}  encoder {-epoch.encoder_elbo:.2f} nats per image"
            tqdm.write(f"{line}  (KL {epoch.kl:.2f}; training images)", file=sys.stderr)

        run = fit_svi(options.run, options.dataset, model, options.svi, options.images, device, tell, show)
    print(f"\nrun {run.name} in {run.path}")
    print(_table(Report(**run.reports()["samples=1,seed=0"])))
    return 0


def _judge(options: Judge) -> int:
    run = _opened(options.run)
    model = run.load_model(choose_device(options.device))
    with tqdm(dynamic_ncols=True, delay=1e-3, bar_format="{desc}{percentage:3.0f}%|{bar}| {elapsed}<{remaining}") as bar:

        def show(stage: str, done: int, total: int) -> None:
            if bar.desc != f"{stage}: ":
                bar.reset(total)
                bar.set_description(stage)
            bar.update(done - bar.n)

        if options.pictures:
            reference = find_reference(run, model, show)
        else:
            report = report_verdicts(run, model, show)
    if not options.pictures:
        print(report.table())
    for path in options.pictures:
        with path.open("rb") as file:
            prepared = prepare(read_picture(file.read(MAX_BYTES + 1)), run.config.model.image_shape)
        print(f"{path}: {reference.judge(measure(model, prepared.pixels[None], reference.around).values[0]).sentence}")
    return 0


def _map(options: MakeMap) -> int:
    run, config = _opened(options.run), options.map
    try:
        with run_job(run.maps_folder, to_json(config)) as job, contextlib.ExitStack() as shown:
            bars: list[tqdm[Any]] = []  # none before there is progress: what is refused says one line

            def show(done: int, total: int) -> None:
                if not bars:
                    job.stage("laying the points out")
                    title = f"{config.method} map of run {run.name}"
                    bars.append(shown.enter_context(tqdm(total=total, unit="step", desc=title, dynamic_ncols=True)))
                if total != bars[0].total:  # laid out, and now the others are placed
                    job.stage("placing the other images")
                    bars[0].reset(total)
                bars[0].update(done - bars[0].n)
                job.progress(done, total)

            made = make_map(run, config, show)
    except KeyboardInterrupt:
        print("stopped; no map was kept", file=sys.stderr)
        raise
    part = f", {made.part_words}," if made.part_words else ""
    print(f"{config.method} map of {len(made.coordinates):,} test images{part} kept in {run.maps_folder}")
    return 0


def _export(options: Export) -> int:
    for path, size in export_run(_opened(options.run), options.export, options.out, options.overwrite):
        print(f"{path}  {size / 1000:,.0f} kB")
    return 0


def _import(options: Import) -> int:
    staged = is_staged(options.source, options.name)
    try:
        with contextlib.ExitStack() as stack:
            job: Job | None = None
            subject = {"name": options.name, "size": options.size, "grey": options.grey}
            if staged:
                job = stack.enter_context(staged_job(options.source, options.name, subject))
            elif is_in_place(options.source, options.name):
                job = stack.enter_context(run_job(upload_folder(options.name), subject))
            if job is not None:
                job.stage("importing")
            bar = stack.enter_context(tqdm(unit="image", desc="importing", dynamic_ncols=True, delay=1e-3))

            def show(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)
                if job is not None:
                    job.progress(done, total)

            made = import_dataset(
                *(options.source, options.name, options.size, options.grey, show),
                resumable=not staged,
                validation_fraction=options.validation_fraction,
            )
    except KeyboardInterrupt:
        print("stopped; nothing was kept" if staged else "stopped; the same command goes on from here", file=sys.stderr)
        return 130
    print(_imported(made))
    return 0


def _imported(made: Imported) -> str:
    channels, height, width = made.image_shape
    counts = ", ".join(f"{count:,} {split}" for split, count in made.counts.items())
    labels = f"{made.classes} classes" if made.classes else "no labels"
    lines = [
        f"data set {made.name}: {made.kind}; {'RGB' if channels == 3 else 'grey'}, {width} x {height}, {labels}",
        f"  images: {counts}",
    ]
    lines += [f"  {made.greyed:,} colour images were turned grey"] if made.greyed else []
    if made.left_out:
        lines += [f"  {made.left_out:,} left out, each named in {made.left_out_file}"]
        lines += [f"    {line}" for line in made.left_out_lines(SHOWN_LEFT_OUT)]
        lines += [f"    and {made.left_out - SHOWN_LEFT_OUT:,} more"] if made.left_out > SHOWN_LEFT_OUT else []
    return "\n".join([*lines, f"train on it: python -m vae train --dataset {made.name} --run {made.name}"])


if __name__ == "__main__":
    sys.exit(main())
