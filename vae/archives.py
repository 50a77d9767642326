"""Zip files from outside, which may be hostile. Nothing of one is written under a name that it chooses."""

from __future__ import annotations

import io
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from vae.data import DataError
from vae.sources import printable

MAX_ENTRIES = 100_000
MAX_DIRECTORY_BYTES = 16 * 2**20
MAX_TOTAL_BYTES = 8 * 2**30
MAX_RATIO = 100
FREE_BYTES = 64 * 2**20
"""An archive that unpacks to no more than this may have any ratio: a few black pictures are harmless."""
MAX_DATA_FILES = 64
CLASSES_FILE = "classes.txt"

ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError, ValueError)
"""What Python's reader raises on a damaged, encrypted or exotic archive."""


class _Capped(io.BufferedReader):
    """NOTE: `zipfile` reads the list of entries in one piece, whatever its size, and makes an object of each entry. This
    refuses the piece before it is read, by the very number that `zipfile` goes by."""

    opening = True

    def read(self, size: int | None = -1, /) -> bytes:
        """As ever, but for that piece."""
        if self.opening and size is not None and size > MAX_DIRECTORY_BYTES:
            raise DataError(f"its list of entries has {size:,} bytes, at most {MAX_DIRECTORY_BYTES:,} are read")
        return super().read(size)


@contextmanager
def opened_zip(path: Path) -> Iterator[tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]]:
    """A zip file and its files (no folders), after a look at every entry: names, kinds, count, sizes, ratio.

    Raises:
        DataError: not a whole zip file, or one that no honest program makes.
    """
    with _Capped(io.FileIO(path)) as file:
        try:
            archive = zipfile.ZipFile(file)
            file.opening = False
        except DataError as error:
            raise DataError(f"{path.name}: {error}: unpack it and import the folder") from None
        except ZIP_ERRORS as error:
            raise DataError(f"{path.name}: expected a whole zip file, it is cut or damaged ({error}): make it again") from None
        with archive:
            yield archive, _checked(path, archive.infolist())


def _checked(path: Path, entries: list[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
    if len(entries) > MAX_ENTRIES:
        raise DataError(
            f"{path.name}: expected at most {MAX_ENTRIES:,} entries, found {len(entries):,}: import a folder instead"
        )
    for entry in entries:
        shown = printable(entry.orig_filename, 80)
        if _escapes(entry.orig_filename):
            raise DataError(f"{path.name}: expected names inside the archive, found {shown!r}, which leads out of it: refused")
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise DataError(f"{path.name}: expected files and folders, found {shown!r}, a link or a device: refused")
        if entry.flag_bits & 1:
            raise DataError(f"{path.name}: {shown!r} is encrypted: make the zip file without a password")
    total = sum(entry.file_size for entry in entries)
    # NOTE: no more than the file has: many entries may share one place in it.
    packed = min(sum(entry.compress_size for entry in entries), path.stat().st_size)
    if total > MAX_TOTAL_BYTES:
        limit = f"at most {MAX_TOTAL_BYTES // 2**30} GiB"
        raise DataError(f"{path.name}: expected {limit} when unpacked, its entries say {total / 2**30:,.1f}: import a folder")
    if total > FREE_BYTES and total > MAX_RATIO * packed:
        raise DataError(
            f"{path.name}: it would unpack to {total / max(packed, 1):,.0f} times its size, at most {MAX_RATIO} is believed: "
            "if it is honest, unpack it and import the folder"
        )
    return [entry for entry in entries if not entry.is_dir()]


def _escapes(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return "\0" in name or name.startswith(("/", "\\")) or ".." in parts or bool(re.match(r"[A-Za-z]:", name))


def read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    """The first ``most`` bytes of an entry.

    Raises:
        DataError: the entry is damaged.
    """
    try:
        with archive.open(entry) as file:
            return file.read(most)
    except ZIP_ERRORS as error:
        raise DataError(f"it is damaged inside the zip file ({error})") from None


def unpack_data_files(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], folder: Path) -> dict[Path, str]:
    """Write the entries (arrays, tables: not pictures) into a folder, each into a numbered one of its own, but for
    ``classes.txt``. Returns what each is called in the archive, by where it was written.

    Raises:
        DataError: one is damaged.
    """
    written: dict[Path, str] = {}
    # In the order of their names, as they are read in a folder; of two called classes.txt the one that lies less deep counts.
    for number, entry in enumerate(sorted(entries, key=lambda entry: (entry.filename.count("/"), entry.filename))):
        plain = re.sub(r"[^A-Za-z0-9._-]", "_", PurePosixPath(entry.filename).name)[-80:]
        target = folder / plain if plain == CLASSES_FILE else folder / f"{number:03}" / plain
        target = folder / f"{number:03}" / plain if target in written else target
        target.parent.mkdir(exist_ok=True)
        try:
            with archive.open(entry) as file, target.open("wb") as out:
                while piece := file.read(2**20):
                    out.write(piece)
        except ZIP_ERRORS as error:
            raise DataError(f"{printable(entry.filename)}: damaged inside the zip file ({error}): make it again") from None
        written[target] = entry.filename
    return written
