"""Files that are whole or absent: written to a temporary name, flushed, and moved into place. And files that are locks."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import tempfile
import time
from pathlib import Path
from typing import BinaryIO

_TEMPORARY = re.compile(r"\..+\.(json|jsonl|npz|safetensors)\.[a-z0-9_]{8}")


def write_atomic(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``; a reader, or a power cut, sees the old file or the new one, never a part of it."""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                _mark(file)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:  # a full disk names no file, a failed move or a read-only folder the temporary one
        error.filename, error.filename2 = str(path), None
        raise


def _mark(file: BinaryIO) -> None:
    """Tell `remove_leftovers` that a process is writing here."""
    with contextlib.suppress(OSError):  # of a file system that has no locks, where there is no `take_lock` either
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that `write_atomic` left anywhere below a folder when its process was killed; none that is
    being written."""
    for path in folder.rglob(".*"):
        if _TEMPORARY.fullmatch(path.name) and path.is_file() and not path.is_symlink() and not is_locked(path):
            with contextlib.suppress(OSError):
                path.unlink()


def take_lock(path: Path) -> BinaryIO:
    """Hold the lock that a file stands for until what is returned is closed. The operating system lets go when the process
    ends, however it ends.

    Raises:
        BlockingIOError: another process holds it.
        OSError: the file can't be written.
    """
    file = path.open("ab")
    for attempt in range(20):  # a passing look at the lock (`is_locked`) must not refuse a start
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            if attempt == 19:
                file.close()
                raise
            time.sleep(0.05)
    return file


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock that a file stands for."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return False
