"""An upload on its way to a data set. It lies in ``data/.upload-<name>/`` beside the status of its import (`vae.jobs`), in a
folder of its own that is gone when the import has ended, however it ended: the importing process takes it away, and for one
that was killed `clear_upload` does. No data set has such a name. Of a folder under ``data/`` that is packed where it lies, only
the status of its import is there.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from vae.data import DataError, check_name, data_root
from vae.files import is_locked
from vae.jobs import LOCK_FILE, Job, run_job
from vae.pack import discard_import

PREFIX = ".upload-"
START_SECONDS = 600
"""A process that hasn't taken up an upload after this long never will."""


def upload_folder(name: str) -> Path:
    """Where the upload that becomes the data set of that name lies, and the status of its import.

    Raises:
        DataError: no name of a data set.
    """
    check_name(name)
    return data_root() / f"{PREFIX}{name}"


def list_uploads() -> list[str]:
    """The names under which uploads are imported, or were and it hasn't been forgotten; sorted."""
    names = [path.name.removeprefix(PREFIX) for path in data_root().glob(f"{PREFIX}*") if path.is_dir()]
    return sorted(name for name in names if _is_name(name))


def _is_name(name: str) -> bool:
    try:
        check_name(name)
    except DataError:
        return False
    return True


def stage_upload(name: str, file_name: str, content: bytes | memoryview) -> Path:
    """Write an upload where its import will look for it; returns the file.

    Raises:
        DataError: no name of a data set, or the file can't be written. Nothing is left behind.
    """
    folder, own = upload_folder(name), None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        own = Path(tempfile.mkdtemp(dir=folder))
        path = own / file_name
        path.write_bytes(content)
    except OSError as error:
        if own is not None:
            shutil.rmtree(own, ignore_errors=True)
        raise DataError(
            f"{folder}: the upload can't be written ({error.strerror}): check the disk and its permissions"
        ) from None
    return path


def is_staged(source: Path, name: str) -> bool:
    """Whether an import's source is an upload that `stage_upload` wrote for that name."""
    return source.resolve().parent.parent == upload_folder(name).resolve()


def is_in_place(source: Path, name: str) -> bool:
    """Whether an import's source is the folder of that name under ``data/``: it is packed where it lies."""
    return source.resolve() == (data_root() / name).resolve()


@contextmanager
def staged_job(source: Path, name: str, subject: Mapping[str, Any]) -> Iterator[Job]:
    """Import a staged upload within: a job (`vae.jobs.run_job`) at whose end the upload is gone, and with it the temporary
    files that were made on the way.

    Raises:
        JobError: another process imports an upload under that name.
    """
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, source.parent, ignore_errors=True)  # of one that is refused
        job = stack.enter_context(run_job(upload_folder(name), subject))
        stack.callback(setattr, tempfile, "tempdir", tempfile.tempdir)
        stack.callback(shutil.rmtree, source.parent, ignore_errors=True)  # before the job says that it has ended
        tempfile.tempdir = str(source.parent)
        yield job


def clear_upload(name: str, has_ended: bool) -> None:
    """Take away what an import left that was killed.

    Args:
        has_ended: whether a status tells that it has. Without one, it may be about to begin, for `START_SECONDS`.
    """
    folder = upload_folder(name)
    if is_locked(folder / LOCK_FILE) or not folder.is_dir():
        return
    if not has_ended and time.time() - folder.stat().st_mtime < START_SECONDS:
        return
    left = [path for path in folder.glob("*") if path.is_dir()]
    for path in left:
        shutil.rmtree(path, ignore_errors=True)
    if left:
        discard_import(name)
    if not has_ended:
        shutil.rmtree(folder, ignore_errors=True)
