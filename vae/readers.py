"""What somebody's images are, told by content, and a `Source` to read them from."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from vae.archives import MAX_DATA_FILES, opened_zip, unpack_data_files
from vae.arrays import Named, array_source, read_csv_file, read_idx_file, read_npy, read_npz
from vae.data import DataError, class_names_in, first_bytes
from vae.folders import Listed, announces_picture, list_archive, list_folder, picture_source
from vae.parquet import parquet_source
from vae.sources import Source, printable

ARRAY_READERS: dict[str, Callable[[Path], list[Named]]] = {
    "NPY": read_npy,
    "NPZ": read_npz,
    "IDX": read_idx_file,
    "CSV": read_csv_file,
}
READABLE = "a folder or a zip file of pictures (a sub-folder per class), NPZ, NPY, IDX, CSV (label,pixel1,...) or Parquet"


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """The images at a path: a folder, a zip file, or one file of arrays. Nothing is written but, for a zip file of arrays,
    a temporary folder that is gone when the source is closed.

    Raises:
        DataError: nothing is there that is read here, or something that is refused.
    """
    if path.is_dir():
        yield _folder(path)
        return
    if not path.is_file():
        raise DataError(f"{path}: nothing there. Expected {READABLE}")
    kind = _kind(first_bytes(path, 16))
    if kind == "zip":
        with opened_zip(path) as (archive, entries):
            files = list_archive(archive, entries)
            if any(file.path.suffix == ".npy" for file in files) and not any(file.is_picture for file in files):
                yield _arrays([(path, "NPZ")], ())
                return
            pictures, odd = _told_apart(files)
            if pictures:
                yield picture_source("a zip file of pictures", pictures, odd)
                return
            with tempfile.TemporaryDirectory(prefix="latent-explorer-") as folder:
                unpack_data_files(archive, [entry for entry in entries if not _hidden(entry.filename)], Path(folder))
                yield _folder(Path(folder), shown=path.name)
    elif kind == "Parquet":
        yield parquet_source([path])
    elif kind in ARRAY_READERS:
        yield _arrays([(path, kind)], class_names_in(path.parent / "classes.txt"))
    else:
        raise DataError(f"{path.name}: expected {READABLE}, found {_what(first_bytes(path, 16))}")


def _hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


def _folder(root: Path, shown: str = "") -> Source:
    files, odd = list_folder(root)
    pictures, strangers = _told_apart(files)
    if pictures:
        return picture_source("a folder of pictures", pictures, [*odd, *strangers])
    tables = _data_files(root, files)
    where = shown or str(root)
    if not tables:
        found = f"{len(files):,} files, none of them of these" if files else "no file"
        raise DataError(f"{where}: expected {READABLE}, found {found}{': ' + strangers[0] if strangers else ''}")
    if len(tables) > MAX_DATA_FILES * 16:
        raise DataError(f"{where}: expected at most {MAX_DATA_FILES * 16:,} files of arrays, found {len(tables):,}")
    parquet = [path for path, kind in tables if kind == "Parquet"]
    if parquet and len(parquet) < len(tables):
        raise DataError(f"{where}: expected one kind of data, found Parquet beside {tables[0][0].name}: leave one of them")
    return parquet_source(parquet) if parquet else _arrays(tables, class_names_in(root / "classes.txt"))


def _data_files(root: Path, files: Sequence[Listed]) -> list[tuple[Path, str]]:
    found = [(root / file.path, _kind(first_bytes(root / file.path, 16))) for file in files if file.size]
    return [(path, kind) for path, kind in found if kind == "Parquet" or kind in ARRAY_READERS or _is_npz(path, kind)]


def _is_npz(path: Path, kind: str) -> bool:
    return kind == "zip" and path.suffix == ".npz"


def _arrays(files: Sequence[tuple[Path, str]], class_names: tuple[str, ...]) -> Source:
    arrays = [array for path, kind in files for array in ARRAY_READERS["NPZ" if kind == "zip" else kind](path)]
    kinds = " and ".join(dict.fromkeys("NPZ" if kind == "zip" else kind for _, kind in files))
    return array_source(f"{'an array file' if len(files) == 1 else 'array files'} ({kinds})", arrays, class_names)


def _told_apart(files: Sequence[Listed]) -> tuple[list[Listed], list[str]]:
    """The pictures, and a sentence on each other file."""
    pictures, others = [], []
    for file in files:
        try:
            if file.is_picture:
                pictures.append(file)
            else:
                others.append(f"{printable(str(file.path))}: expected a picture, found {_what(file.head(16))}")
        except DataError as error:
            others.append(f"{printable(str(file.path))}: {error}")
    return pictures, others


def _kind(head: bytes) -> str:
    """The format that the first bytes (decompressed, if gzip) announce, or an empty string."""
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if head.startswith(b"\x93NUMPY"):
        return "NPY"
    if head.startswith(b"PAR1"):
        return "Parquet"
    if head.startswith(b"\x00\x00\x08"):
        return "IDX"
    return "CSV" if head.removeprefix(b"\xef\xbb\xbf").startswith(b"label,") else ""


def _what(head: bytes) -> str:
    if announces_picture(head):
        return "a single picture"
    if _kind(head):
        return f"{_kind(head)} data"
    if not head:
        return "an empty file"
    printing = all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head)
    return "text" if printing else f"bytes that begin with {head[:4].hex(' ')}"
