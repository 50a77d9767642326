"""A run: one training and its folder. The only toucher of ``checkpoints/``.

Everything is JSON, NPZ (without pickle) or safetensors; nothing that is read here can execute. What is missing, cut,
foreign or of a newer format raises a `RunError` that names the file, what was expected and what to do; other runs stay
usable.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import math
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import safetensors.torch
import torch
from jaxtyping import Float32, UInt8
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vae.config import PRESETS, ConfigError, MapConfig, ModelConfig, TrainConfig, from_json, to_json
from vae.encodings import Encodings
from vae.files import is_locked, take_lock, write_atomic
from vae.model import VAE, empty_model

CHECKPOINTS_VARIABLE = "LATENT_EXPLORER_CHECKPOINTS"
"""The environment variable that says where ``checkpoints/`` lies; unset, it is the repository's own."""

FORMAT = 1
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
MAX_JSON_BYTES = 64 * 2**20
MAX_LINE_BYTES = 300  # of the log, as a rule
RunState = Literal["new", "running", "stopped", "interrupted", "failed", "finished"]


class RunError(ValueError):
    """A run or a file of a run that cannot be used; the message names it, what was expected and what to do."""


@dataclass(frozen=True)
class RunConfig:
    """What ``config.json`` holds: all that is needed to rebuild the model and to know what it was trained on."""

    model: ModelConfig
    train: TrainConfig
    preset: str
    dataset: str
    data_digests: dict[str, str]
    """The content digest of each split, by its name."""
    versions: dict[str, str]
    """The libraries that trained it, by name."""


@dataclass(frozen=True, eq=False)
class Map:
    """A projection of a run's test means to two or three dimensions, with what it was made from."""

    coordinates: Float32[np.ndarray, "n components"]
    config: MapConfig
    weights_digest: str
    data_digest: str
    fitted: int | None = None
    """To how many of the images it was fitted, if not to all: the others are placed at their nearest neighbours of those."""

    @property
    def part_words(self) -> str:
        """What is to be said where it was fitted to a part of the images; else nothing."""
        if self.fitted is None:
            return ""
        return f"fitted to {self.fitted:,} of them drawn at random, the others placed at their nearest neighbours among those"


@dataclass(frozen=True)
class Status:
    """What ``status.json`` holds. ``updated`` and ``started`` are seconds since 1970; ``error`` is a sentence."""

    state: RunState
    pid: int
    started: float
    updated: float
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    total_steps: int = 0
    device: str = ""
    error: str | None = None


def runs_root() -> Path:
    """The folder that holds the runs."""
    return Path(os.environ.get(CHECKPOINTS_VARIABLE) or Path(__file__).resolve().parent.parent / "checkpoints")


def list_runs() -> list[str]:
    """The names of the runs under ``checkpoints/``, the newest training first."""
    found = [path for path in runs_root().glob("*/config.json") if NAME.fullmatch(path.parent.name)]
    return [path.parent.name for path in sorted(found, key=lambda path: (-path.stat().st_mtime, path.parent.name))]


def run_path(name: str) -> Path:
    """The folder of the run of that name, which need not exist.

    Raises:
        RunError: a name that isn't one.
    """
    if not NAME.fullmatch(name):
        raise RunError(f"a run is named by lower-case letters, digits, '.', '_' and '-' (at most 64), got {name!r}")
    return runs_root() / name


def open_run(where: str | Path) -> Run:
    """The run of a name under ``checkpoints/``, or (given a `Path`) in a folder anywhere.

    Raises:
        RunError: there is none, or its ``config.json`` can't be used.
    """
    path = where if isinstance(where, Path) else run_path(where)
    file = path / "config.json"
    if not file.is_file():
        known = ", ".join(list_runs()) or "none"
        raise RunError(f"{path}: no run there (no config.json). Runs under {runs_root()}: {known}")
    values = _read_json(file)
    if values.get("format") != FORMAT:
        raise RunError(
            f"{file}: expected format {FORMAT}, found {values.get('format')!r}: it was written by another version, "
            "open it with that one or start a new run"
        )
    try:
        config = RunConfig(
            model=from_json(ModelConfig, values["model"]),
            train=from_json(TrainConfig, values["train"]),
            preset=str(values["preset"]),
            dataset=str(values["dataset"]),
            data_digests={str(split): str(digest) for split, digest in values["data_digests"].items()},
            versions={str(name): str(version) for name, version in values["versions"].items()},
        )
    except (ConfigError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise RunError(
            f"{file}: expected the configuration of a run, found a wrong or missing field ({error}): "
            "restore it or start a new run"
        ) from None
    return Run(path, config)


def create_run(name: str, config: RunConfig) -> Run:
    """A new run's folder with its ``config.json`` and the status of a training that has begun: by whoever holds `lock_run`.

    Raises:
        RunError: a run of that name exists, or the folder can't be written.
    """
    path = run_path(name)
    values = {"format": FORMAT, **dataclasses.asdict(config), "model": to_json(config.model), "train": to_json(config.train)}
    if (path / "config.json").exists():
        raise RunError(f"{path}: a run of that name exists: choose another name, or continue it with --resume")
    try:
        path.mkdir(parents=True, exist_ok=True)
        now = time.time()  # NOTE: before there is a run, so that one whose process ends here is told as interrupted
        Run(path, config).save_status(Status("running", os.getpid(), now, now, epochs=config.train.epochs))
        write_atomic(path / "config.json", _json_bytes(values))
    except OSError as error:
        raise RunError(
            f"{path}: the run's folder can't be written ({error.strerror}): check the disk and its permissions"
        ) from None
    return Run(path, config)


@contextlib.contextmanager
def lock_run(name: str) -> Iterator[None]:
    """Hold a run for training. The operating system lets go when the process ends, however it ends.

    Raises:
        RunError: another process holds it.
    """
    path = run_path(name)
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = take_lock(path / ".lock")
    except BlockingIOError:
        raise RunError(f"{path}: this run is being trained by another process: wait for it, or stop it") from None
    except OSError as error:
        raise RunError(
            f"{path}: the run's folder can't be written ({error.strerror}): check the disk and its permissions"
        ) from None
    with file:
        yield


@dataclass(frozen=True)
class Run:
    """An existing run. Methods read and write the files of its folder, each whole or not at all."""

    path: Path
    config: RunConfig

    @property
    def name(self) -> str:
        """The run's name: that of its folder."""
        return self.path.name

    @property
    def maps_folder(self) -> Path:
        """Where its maps are kept, and what the making of one says of itself (see `vae.jobs`)."""
        return self.path / "maps"

    @property
    def is_resumable(self) -> bool:
        """Whether it is of a training that keeps a state; one by stochastic variational inference doesn't."""
        return self.config.preset in PRESETS

    def check_resumable(self) -> None:
        """Refuse a run that isn't.

        Raises:
            RunError: it is of another training.
        """
        if not self.is_resumable:
            raise RunError(f"{self.path}: it is of another training ({self.config.preset}), which isn't resumed: train anew")

    # --- weights -------------------------------------------------------------------------------------------------

    def save_weights(self, model: VAE) -> None:
        """Write the weights that serve."""
        tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
        write_atomic(self.path / "weights.safetensors", safetensors.torch.save(tensors, {"format": str(FORMAT)}))

    def weights_digest(self) -> str:
        """The digest of the weights' file, 16 hexadecimal digits.

        Raises:
            RunError: there are no weights yet.
        """
        try:
            with self._weights_file().open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()[:16]
        except OSError as error:
            raise RunError(f"{self._weights_file()}: can't be read ({error.strerror})") from None

    def load_model(self, device: torch.device | str = "cpu") -> VAE:
        """The model with the weights that serve, in evaluation mode, in the memory order (channels last) that convolutions are
        fastest from; the numbers are those of any order, but for rounding.

        Names and shapes are checked against the configuration before a tensor is read: a foreign file allocates nothing.

        Raises:
            RunError: no weights yet, or a file that is cut or belongs to another model.
        """
        file = self._weights_file()
        try:
            model = empty_model(self.config.model)
            expected = {name: (list(value.shape), value.dtype) for name, value in model.state_dict().items()}
            with safe_open(file, framework="pt") as reader:
                found = {name: reader.get_slice(name) for name in reader.keys()}  # noqa: SIM118 - not a mapping
                shapes = {name: part.get_shape() for name, part in found.items()}
                written = (reader.metadata() or {}).get("format", str(FORMAT))
            if written != str(FORMAT):
                raise RunError(
                    f"{file}: expected format {FORMAT}, found {written!r}: it was written by another version, "
                    "open it with that one or retrain"
                )
            if shapes != {name: shape for name, (shape, _) in expected.items()}:
                odd = sorted(set(shapes) ^ set(expected)) or [n for n in shapes if shapes[n] != expected[n][0]]
                raise RunError(
                    f"{file}: expected the weights of the model in config.json, {odd[0]} doesn't fit: it is another model's"
                )
            tensors = safetensors.torch.load_file(file)
        except (SafetensorError, OSError) as error:
            raise RunError(
                f"{file}: expected a whole safetensors file ({error}): it is cut or foreign, restore it or retrain"
            ) from None
        except ConfigError as error:
            raise RunError(f"{self.path / 'config.json'}: {error}") from None
        if any(tensors[name].dtype != dtype for name, (_, dtype) in expected.items()):
            raise RunError(
                f"{file}: expected the number types that training writes, found others: it is foreign, restore it or retrain"
            )
        if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
            raise RunError(f"{file}: expected finite weights, found infinite ones or NaN: restore the file or retrain")
        model.load_state_dict(tensors, assign=True)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's annotations
        return model.to(device).requires_grad_(False).eval()

    def _weights_file(self) -> Path:
        file = self.path / "weights.safetensors"
        if not file.is_file():
            raise RunError(f"{file}: not there: the run has not finished its first epoch")
        return file

    # --- training state ------------------------------------------------------------------------------------------

    def save_state(self, tensors: Mapping[str, Tensor], progress: Mapping[str, Any]) -> None:
        """Write all that an exact resume needs, as one file, so that it can't be half old and half new."""
        (self.path / "state").mkdir(exist_ok=True)
        header = {"format": str(FORMAT), "progress": json.dumps(progress)}
        write_atomic(self.path / "state" / "state.safetensors", safetensors.torch.save(dict(tensors), header))

    def load_state(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What `save_state` wrote last, or None if it never did.

        Raises:
            RunError: the file is cut or foreign.
        """
        file = self.path / "state" / "state.safetensors"
        if not file.exists():
            return None
        try:
            with safe_open(file, framework="pt") as reader:
                metadata = reader.metadata() or {}
                tensors = {name: reader.get_tensor(name) for name in reader.keys()}  # noqa: SIM118 - not a mapping
            if metadata.get("format") != str(FORMAT):
                raise ValueError(f"format {metadata.get('format')!r} where {FORMAT} is read here")
            progress = _parse_json(metadata["progress"])
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise RunError(
                f"{file}: expected a saved training state ({error}): it can't be resumed; delete state/ to start over"
            ) from None
        return tensors, progress

    # --- metrics, status, log ------------------------------------------------------------------------------------

    def append_metrics(self, epoch: Mapping[str, Any]) -> None:
        """Add one epoch's line to ``metrics.jsonl``."""
        with (self.path / "metrics.jsonl").open("ab") as file:
            file.write(json.dumps(epoch).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def metrics(self) -> list[dict[str, Any]]:
        """The epochs in ``metrics.jsonl``, oldest first. A torn last line is passed over."""
        try:
            lines = (self.path / "metrics.jsonl").read_bytes().split(b"\n")
        except OSError:
            return []
        epochs = []
        for line in lines:
            with contextlib.suppress(ValueError):
                value = _parse_json(line)
                if isinstance(value, dict) and isinstance(value.get("epoch"), int):
                    epochs.append(value)
        return epochs

    def truncate_metrics(self, epoch: int) -> None:
        """Keep the lines of the first ``epoch`` epochs: what the training state knows of."""
        kept = [json.dumps(line).encode() + b"\n" for line in self.metrics() if line["epoch"] <= epoch]
        write_atomic(self.path / "metrics.jsonl", b"".join(kept))

    def save_status(self, status: Status) -> None:
        """Write ``status.json``."""
        write_atomic(self.path / "status.json", _json_bytes(dataclasses.asdict(status)))

    def status(self) -> Status | None:
        """What ``status.json`` says, None if there is none or it can't be read. A ``running`` whose process
        is gone (nobody holds the lock) is told as ``interrupted``."""
        status = self._read_status()
        for _ in range(2):
            if status is None or status.state != "running" or self.is_locked():
                return status
            status = self._read_status()  # where the process ended since the first look, this tells how
        return status and dataclasses.replace(status, state="interrupted")

    def _read_status(self) -> Status | None:
        try:
            status = Status(**_read_json(self.path / "status.json"))
        except (RunError, TypeError):
            return None
        whole = (status.pid, status.epoch, status.epochs, status.step, status.total_steps)
        is_sound = (
            all(type(value) is int and 0 <= value < 2**53 for value in whole)
            and all(type(value) in (int, float) and math.isfinite(value) for value in (status.started, status.updated))
            and isinstance(status.device, str)
            and (status.error is None or isinstance(status.error, str))
            and status.state in get_args(RunState)
        )
        return status if is_sound else None

    def is_locked(self) -> bool:
        """Whether a process is training this run now."""
        return is_locked(self.path / ".lock")

    def log(self, line: str) -> None:
        """Add a line with the time to ``train.log``."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        with (self.path / "train.log").open("a", encoding="utf-8") as file:
            file.write(f"{stamp} {line}\n")

    def log_lines(self, count: int) -> list[str]:
        """The last lines of ``train.log``, at most so many; none where there is no log."""
        try:
            with (self.path / "train.log").open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - count * MAX_LINE_BYTES))
                return file.read().decode("utf-8", "replace").splitlines()[-count:]
        except OSError:
            return []

    # --- what is derived from the weights ------------------------------------------------------------------------

    def save_encodings(self, encodings: Encodings) -> None:
        """Write ``encodings.npz``, stamped with the weights and the test data it came from."""
        arrays = {field.name: getattr(encodings, field.name) for field in dataclasses.fields(encodings)}
        self._save_npz(self.path / "encodings.npz", arrays | {"made_from": np.array(self._test_origin())})

    def load_encodings(self) -> Encodings:
        """The encoded test set.

        Raises:
            RunError: not there, cut or foreign, or made from other weights than those that serve.
        """
        file = self.path / "encodings.npz"
        mend = f"python -m vae evaluate {self.name}"
        arrays = self._load_npz(file, mend)
        try:
            made_from = [str(digest) for digest in arrays["made_from"]]
            encodings = Encodings(**{field.name: arrays[field.name] for field in dataclasses.fields(Encodings)})
            shapes = {encodings.mean.shape, encodings.logvar.shape, (len(encodings.kl), self.config.model.latent)}
            if len(shapes) != 1 or encodings.kl.shape != encodings.reconstruction.shape:
                raise ValueError("arrays of shapes that don't fit the model or each other")
            if any(getattr(encodings, field.name).dtype != np.float32 for field in dataclasses.fields(Encodings)):
                raise ValueError("arrays that aren't float32")
            if not all(np.isfinite(getattr(encodings, field.name)).all() for field in dataclasses.fields(Encodings)):
                raise ValueError("values that are not finite")
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{file}: expected the encodings of this run, found {error}: remake it with '{mend}'") from None
        if made_from != self._test_origin():
            raise RunError(f"{file}: made from other weights or test data than this run's: remake it with '{mend}'")
        return encodings

    def save_map(self, coordinates: Float32[np.ndarray, "n components"], config: MapConfig, fitted: int | None = None) -> Map:
        """Keep a map under its parameters, stamped with the weights and the test data it came from; ``fitted`` as `Map`."""
        self.maps_folder.mkdir(exist_ok=True)
        arrays = {
            "coordinates": coordinates.astype(np.float32),
            "config": np.array(json.dumps(to_json(config))),
            "made_from": np.array(self._test_origin()),
        }
        if fitted is not None:
            arrays["fitted"] = np.array(fitted)
        self._save_npz(self._map_file(config), arrays)
        return self.load_map(config)

    def load_map(self, config: MapConfig) -> Map:
        """The map of those parameters.

        Raises:
            RunError: there is none, it is cut or foreign, or it belongs to other weights or data.
        """
        return self._read_map(self._map_file(config), config, self._test_origin())

    def list_maps(self) -> list[MapConfig]:
        """The parameters of every usable map that is kept, flat or not, the newest first."""
        origin, found = self._test_origin(), []
        for file, config in self._kept_maps():
            with contextlib.suppress(RunError):
                found.append(self._read_map(file, config, origin).config)
        return found

    def list_old_maps(self) -> list[MapConfig]:
        """The parameters of the maps that were made from other weights or test data than this run's, the newest first."""
        return [config for file, config in self._kept_maps() if _map_origin(file) not in (None, self._test_origin())]

    def _read_map(self, file: Path, config: MapConfig, origin: list[str]) -> Map:
        mend = f"python -m vae map {self.name}"
        arrays = self._load_npz(file, mend)
        try:
            coordinates, stored = arrays["coordinates"], from_json(MapConfig, _parse_json(str(arrays["config"])))
            weights, data = (str(digest) for digest in arrays["made_from"])
            fitted = int(arrays["fitted"]) if "fitted" in arrays else None
            fits = coordinates.ndim == 2 and coordinates.shape[1] == stored.components and coordinates.dtype == np.float32
            if not fits or stored != config:
                raise ValueError(f"coordinates {coordinates.shape} of {coordinates.dtype} or other parameters")
            if not np.isfinite(coordinates).all():
                raise ValueError("coordinates that are not finite")
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{file}: expected a map of this run, found {error}: remake it with '{mend}'") from None
        if [weights, data] != origin:
            raise RunError(f"{file}: made from other weights or test data than this run's: remake it with '{mend}'")
        return Map(coordinates, stored, weights, data, fitted)

    def _kept_maps(self) -> list[tuple[Path, MapConfig]]:
        """Each file in ``maps/`` that says what it is, with its parameters; the newest first. Whole or not, usable or not."""
        found = []
        for file in sorted(self.maps_folder.glob("*.npz"), key=lambda path: -path.stat().st_mtime):
            with contextlib.suppress(ValueError):
                found.append((file, from_json(MapConfig, _parse_json(str(_npz_member(file, "config"))))))
        return found

    def save_reference(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Write ``reference.npz``, what verdicts are taken against, stamped with the weights and the data it came from."""
        self._save_npz(self.path / "reference.npz", {**arrays, "made_from": np.array(self._trained_origin())})

    def load_reference(self) -> dict[str, np.ndarray]:
        """What `save_reference` kept; what is in it is for its reader to check.

        Raises:
            RunError: not there, cut or foreign, or made from other weights or data than this run's.
        """
        file, mend = self.path / "reference.npz", f"python -m vae verdict {self.name}"
        arrays = self._load_npz(file, mend)
        made_from = [str(digest) for digest in arrays.pop("made_from", np.array([])).ravel()]
        if made_from != self._trained_origin():
            raise RunError(f"{file}: made from other weights or data than this run's: remake it with '{mend}'")
        return arrays

    def save_report(self, setting: str, report: Mapping[str, Any]) -> None:
        """Keep a report in ``evaluation.json`` under its setting; those of other settings stay."""
        write_atomic(self.path / "evaluation.json", _json_bytes(self.reports() | {setting: dict(report)}))

    def reports(self) -> dict[str, dict[str, Any]]:
        """The reports in ``evaluation.json`` by setting; empty before the first.

        Raises:
            RunError: the file is cut or foreign.
        """
        file = self.path / "evaluation.json"
        if not file.exists():
            return {}
        mend = f"delete it and run 'python -m vae evaluate {self.name}'"
        reports = _read_json(file, mend)
        if not all(isinstance(report, dict) for report in reports.values()):
            raise RunError(f"{file}: expected a report for each setting, found something else: it is foreign, {mend}")
        return reports

    def save_piece(self, key: str, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep a piece of a long evaluation, under the key of what it is made from."""
        folder = self.path / "evaluation" / key
        folder.mkdir(parents=True, exist_ok=True)
        self._save_npz(folder / f"{name}.npz", arrays)

    def load_piece(self, key: str, name: str) -> dict[str, np.ndarray] | None:
        """What `save_piece` kept; None if there is nothing, or nothing whole: it is then made anew."""
        with contextlib.suppress(RunError):
            return self._load_npz(self.path / "evaluation" / key / f"{name}.npz", "")
        return None

    def forget_pieces(self, key: str) -> None:
        """Remove the pieces of an evaluation whose report is kept."""
        shutil.rmtree(self.path / "evaluation" / key, ignore_errors=True)
        with contextlib.suppress(OSError):  # pieces of other evaluations are there
            (self.path / "evaluation").rmdir()

    def save_preview(
        self, epoch: int, reconstructions: UInt8[np.ndarray, "n c h w"], samples: UInt8[np.ndarray, "m c h w"]
    ) -> None:
        """Keep one epoch's pictures: the fixed validation images reconstructed, and the fixed prior samples decoded."""
        (self.path / "previews").mkdir(exist_ok=True)
        file = self.path / "previews" / f"epoch-{epoch:05d}.npz"
        self._save_npz(file, {"reconstructions": reconstructions, "samples": samples})

    def preview_epochs(self) -> list[int]:
        """The epochs that have kept their pictures, rising."""
        found = (re.fullmatch(r"epoch-(\d{1,9})\.npz", path.name) for path in (self.path / "previews").glob("epoch-*.npz"))
        return sorted(int(match[1]) for match in found if match)

    def load_preview(self, epoch: int) -> tuple[UInt8[np.ndarray, "n c h w"], UInt8[np.ndarray, "m c h w"]]:
        """What `save_preview` kept of an epoch: reconstructions and prior samples.

        Raises:
            RunError: not there, cut or foreign.
        """
        file = self.path / "previews" / f"epoch-{epoch:05d}.npz"
        arrays = self._load_npz(file, f"python -m vae train --run {self.name} --resume")
        try:
            both = arrays["reconstructions"], arrays["samples"]
            if any(part.dtype != np.uint8 or part.shape[1:] != self.config.model.image_shape for part in both):
                raise ValueError("pictures of another shape than the model's")
        except (KeyError, ValueError) as error:
            raise RunError(f"{file}: expected the pictures of an epoch of this run, found {error}: delete the file") from None
        return both

    # --- helpers -------------------------------------------------------------------------------------------------

    def _test_origin(self) -> list[str]:
        return [self.weights_digest(), self.config.data_digests.get("test", "")]

    def _trained_origin(self) -> list[str]:
        return [self.weights_digest(), *(self.config.data_digests.get(split, "") for split in ("train", "validation"))]

    def _map_file(self, config: MapConfig) -> Path:
        name = hashlib.sha256(json.dumps(to_json(config), sort_keys=True).encode()).hexdigest()[:12]
        file = self.maps_folder / f"{name}.npz"
        if file.exists():
            return file
        # NOTE: a map that was kept when there were fewer parameters lies under another name.
        return next((other for other, stored in self._kept_maps() if stored == config), file)

    def _save_npz(self, file: Path, arrays: Mapping[str, np.ndarray]) -> None:
        buffer = io.BytesIO()
        # NOTE: not deflated. That would save a sixth of encodings, and reading them would take ten times as long.
        np.savez(buffer, allow_pickle=False, **arrays)
        write_atomic(file, buffer.getvalue())

    def _load_npz(self, file: Path, mend: str) -> dict[str, np.ndarray]:
        if not file.is_file():
            raise RunError(f"{file}: not there: make it with '{mend}'")
        try:
            # NOTE: opened here, because np.load leaves its own file open when it refuses the content.
            with file.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except Exception as error:  # damage anywhere in a zip of arrays surfaces as almost any error
            raise RunError(
                f"{file}: expected a whole .npz file ({error}): it is cut or foreign, remake it with '{mend}'"
            ) from None


def _npz_member(file: Path, name: str) -> np.ndarray:
    """One array of a .npz file.

    Raises:
        ValueError: the file has no such array, or is no such file.
    """
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
            return np.asarray(archive[name])
    except Exception as error:  # as in `Run._load_npz`
        raise ValueError(str(error)) from None


def _map_origin(file: Path) -> list[str] | None:
    try:
        return [str(digest) for digest in _npz_member(file, "made_from").ravel()]
    except ValueError:
        return None


def _json_bytes(values: Any) -> bytes:
    return (json.dumps(values, indent=2, allow_nan=False) + "\n").encode()


def _parse_json(text: str | bytes) -> Any:
    """The value of a JSON text. Nesting too deep for the parser is a `ValueError`, as any other damage is."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _read_json(file: Path, mend: str = "restore it") -> dict[str, Any]:
    try:
        if file.stat().st_size > MAX_JSON_BYTES:
            raise RunError(f"{file}: expected at most {MAX_JSON_BYTES:,} bytes of JSON, found more: it is foreign, {mend}")
        values = _parse_json(file.read_bytes())
    except (OSError, ValueError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(f"{file}: expected a JSON file ({error}): it is cut or foreign, {mend}") from None
    if not isinstance(values, dict):
        raise RunError(f"{file}: expected a JSON object, found {type(values).__name__}: it is foreign, {mend}")
    return values
