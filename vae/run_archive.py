"""Runs as things to rename, to delete and to carry elsewhere as a zip file. What is imported is input from outside."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import secrets
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from vae.archives import ZIP_ERRORS, opened_zip
from vae.arrays import read_npz
from vae.config import ConfigError
from vae.data import DataError
from vae.files import is_locked, take_lock
from vae.jobs import LOCK_FILE
from vae.model import parameter_count
from vae.runs import Run, RunError, open_run, run_path, runs_root

MAX_BYTES = 4 * 2**30
SPARE_BYTES = 2**29
"""What an import leaves free on the disk."""
MAX_PACKED_BYTES = 2**30
"""Of a run that is packed for a download: the page holds it in memory."""

# What a run's folder may hold, and how large each file of it may be; None: as large as the model asks for.
_MIB = 2**20
_FILES: tuple[tuple[str, int | None], ...] = (
    (r"config\.json", _MIB),
    (r"status\.json", _MIB),
    (r"evaluation\.json", 16 * _MIB),
    (r"metrics\.jsonl", 64 * _MIB),
    (r"train\.log", 64 * _MIB),
    (r"weights\.safetensors", None),
    (r"state/state\.safetensors", None),
    (r"encodings\.npz", 2048 * _MIB),
    (r"reference\.npz", 512 * _MIB),
    (r"maps/[0-9a-f]{12}\.npz", 256 * _MIB),
    (r"previews/epoch-[0-9]{5,6}\.npz", 256 * _MIB),
)


def rename_run(name: str, new: str) -> Run:
    """Give a run another name.

    Raises:
        RunError: a name that isn't one or is taken, no such run, or one that is at work.
    """
    target = run_path(new)
    with _held(name) as path:
        if os.path.lexists(target):
            raise RunError(f"{target}: a run or a folder of that name exists: choose another name")
        _move(path, target)
    return open_run(new)


def delete_run(name: str) -> None:
    """Delete a run and all that its folder holds. Links in it are removed, what they lead to is not touched.

    Raises:
        RunError: no such run, one that is at work, or a folder that can't be removed.
    """
    gone = runs_root() / f".deleted-{name}-{secrets.token_hex(4)}"
    with _held(name) as path:
        _move(path, gone)  # at once: whoever looks sees the run whole, or none
    try:
        shutil.rmtree(gone)
    except OSError as error:
        raise RunError(
            f"{gone}: the run is gone from the list, but its files can't all be removed ({error.strerror})"
        ) from None


def pack_run(run: Run, file: BinaryIO) -> None:
    """Write a run as a zip file that `import_run` reads. The state that a resume needs goes along unless the run is finished.

    Raises:
        RunError: more than `MAX_PACKED_BYTES`, or a file that can't be read.
    """
    status = run.status()
    found = [(path, path.relative_to(run.path).as_posix()) for path in sorted(run.path.rglob("*"))]
    wanted = [
        (path, name)
        for path, name in found
        if _limit(name) is not _UNKNOWN
        and path.is_file()
        and not any(part.is_symlink() for part in (path, path.parent))
        and not (status is not None and status.state == "finished" and name.startswith("state/"))
    ]
    try:
        total = sum(path.stat().st_size for path, _ in wanted)
        if total > MAX_PACKED_BYTES:
            raise RunError(
                f"{run.path}: its files have {total:,} bytes, at most {MAX_PACKED_BYTES:,} are packed: copy the folder"
            )
        with zipfile.ZipFile(file, "w") as archive:
            for path, name in wanted:
                is_packed = path.suffix in (".npz", ".safetensors")
                kind = zipfile.ZIP_STORED if is_packed else zipfile.ZIP_DEFLATED
                archive.write(path, f"{run.name}/{name}", compress_type=kind)
    except OSError as error:
        raise RunError(f"{run.path}: can't be read ({error.strerror}): check the disk and its permissions") from None


def import_run(source: Path, name: str) -> Run:
    """Take in a run that `pack_run` wrote, under a name that is free. The zip file is not trusted: only files that a run has
    are written, every size in its configuration is capped before anything is allocated, weights and arrays are checked
    against it, and the run is seen by others only when it is whole.

    Raises:
        RunError: a name that isn't one or is taken, a file that is no such zip, or one that is cut, hostile or too large.
    """
    target = run_path(name)
    if os.path.lexists(target):
        raise RunError(f"{target}: a run or a folder of that name exists: choose another name")
    try:
        runs_root().mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix=".import-", dir=runs_root()) as folder,
            opened_zip(source) as (archive, entries),
        ):
            run = _unpacked(archive, entries, Path(folder) / "run", source.name)
            _move(run.path, target)
    except DataError as error:
        raise RunError(str(error)) from None
    except OSError as error:
        raise RunError(f"{runs_root()}: can't be written ({error.strerror}): check the disk and its permissions") from None
    return open_run(name)


# --- parts ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _held(name: str) -> Iterator[Path]:
    """The folder of a run that nothing is at work in, held while it is moved."""
    path = run_path(name)
    if path.is_symlink() or not (path / "config.json").is_file():
        raise RunError(f"{path}: expected a run's own folder (with a config.json), found none: look at the list of runs")
    if is_locked(path / "maps" / LOCK_FILE):
        raise RunError(f"{path}: a map of this run is being made: wait for it, or cancel it")
    try:
        lock = take_lock(path / ".lock")
    except BlockingIOError:
        raise RunError(f"{path}: this run is being trained: wait for it, or stop it") from None
    except OSError as error:
        raise RunError(f"{path}: can't be written ({error.strerror}): check the disk and its permissions") from None
    with lock:
        yield path


def _move(path: Path, target: Path) -> None:
    try:
        path.rename(target)
    except OSError as error:
        raise RunError(
            f"{target}: can't be made from {path.name} ({error.strerror}): choose another name, check the disk"
        ) from None


_UNKNOWN = -1


def _limit(name: str) -> int | None:
    """How large a file of that name in a run's folder may be (None: as the model asks), `_UNKNOWN` if runs have none."""
    return next((limit for pattern, limit in _FILES if re.fullmatch(pattern, name)), _UNKNOWN)


def _unpacked(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], folder: Path, source: str) -> Run:
    files = _listed(entries, source)
    total = sum(entry.file_size for entry in files.values())
    spare = shutil.disk_usage(folder.parent).free - SPARE_BYTES
    if total > min(MAX_BYTES, spare):
        raise RunError(
            f"{source}: expected at most {min(MAX_BYTES, max(spare, 0)):,} bytes when unpacked, its entries say {total:,}"
        )
    _write(archive, files.pop("config.json"), folder / "config.json", source)
    try:
        run = open_run(folder)
        weights = 8 * parameter_count(run.config.model) + 2**20
    except (RunError, ConfigError) as error:
        raise RunError(f"{source}: {str(error).replace(f'{folder}/', '')}") from None
    for name, entry in files.items():
        limit = _limit(name)
        most = limit if limit is not None else weights * (4 if name.startswith("state/") else 1)
        if entry.file_size > most:
            raise RunError(
                f"{source}/{name}: expected at most {most:,} bytes, its entry says {entry.file_size:,}: it is foreign"
            )
        _write(archive, entry, folder / name, source)
    _check(run, source)
    return run


def _listed(entries: list[zipfile.ZipInfo], source: str) -> dict[str, zipfile.ZipInfo]:
    """The files by their names in the run's folder: they may lie in one folder of the archive."""
    tops = {entry.filename.partition("/")[0] for entry in entries if "/" in entry.filename}
    has_top = all("/" in entry.filename for entry in entries) and len(tops) == 1
    files: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        name = entry.filename.partition("/")[2] if has_top else entry.filename
        if _limit(name) is _UNKNOWN or name in files:
            raise RunError(f"{source}: expected the files of one run, each once, found {ascii(name)[:80]}: pack the run again")
        files[name] = entry
    if "config.json" not in files:
        raise RunError(f"{source}: expected a run, found no config.json in it: pack the run again")
    return files


def _write(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path, source: str) -> None:
    limit = _limit("config.json")
    if path.name == "config.json" and limit is not None and entry.file_size > limit:
        raise RunError(f"{source}/config.json: expected at most {limit:,} bytes, its entry says {entry.file_size:,}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with archive.open(entry) as packed, path.open("wb") as file:
            shutil.copyfileobj(packed, file, 2**20)  # NOTE: zipfile gives no more than the entry's size
    except OSError:
        raise
    except ZIP_ERRORS as error:
        raise RunError(f"{source}/{path.name}: damaged inside the zip file ({error}): pack the run again") from None


def _check(run: Run, source: str) -> None:
    """Weights and arrays must be what the configuration says; who was at work on the run elsewhere is not at work here."""
    try:
        for file in run.path.rglob("*.npz"):
            read_npz(file)  # what their headers promise is held against the files, before anyone else reads them
        if (run.path / "weights.safetensors").exists():
            run.load_model()
        if (run.path / "encodings.npz").exists():
            run.load_encodings()
    except (RunError, DataError) as error:
        raise RunError(f"{source}: {str(error).replace(f'{run.path}/', '')}") from None
    status = run.status()
    if status is None:
        (run.path / "status.json").unlink(missing_ok=True)
    else:
        state = "stopped" if status.state in ("running", "interrupted") else status.state
        run.save_status(dataclasses.replace(status, state=state, pid=0))
