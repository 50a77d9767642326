"""What somebody's images are, told by content, and a `Source` to read them from."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath

from vae.archives import CLASSES_FILE, MAX_DATA_FILES, opened_zip, unpack_data_files
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
            if files and all(file.path.suffix == ".npy" for file in files):
                yield _arrays([(path, "NPZ")], ())
                return
            pictures, odd = _told_apart(files)
            if pictures:
                yield picture_source("a zip file of pictures", pictures, odd)
                return
            held = [entry for entry in entries if not _hidden(entry.filename)]
            if len(held) > MAX_DATA_FILES:
                found = f"found {len(held):,} files and no picture"
                raise DataError(
                    f"{path.name}: expected pictures, or at most {MAX_DATA_FILES} other files, {found}: unpack it and import "
                    "the folder"
                )
            with tempfile.TemporaryDirectory(prefix="latent-explorer-") as folder:
                names = unpack_data_files(archive, held, Path(folder))
                yield _tables(Path(folder), path.name, list_folder(Path(folder))[0], odd, (), names)
    elif kind == "Parquet":
        yield parquet_source([path])
    elif kind in ARRAY_READERS:
        yield _arrays([(path, kind)], class_names_in(path.parent / CLASSES_FILE))
    else:
        raise DataError(f"{path.name}: expected {READABLE}, found {_what(first_bytes(path, 16))}")


def _hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


def _folder(root: Path) -> Source:
    files, odd = list_folder(root)
    pictures, strangers = _told_apart(files)
    if pictures:
        return picture_source("a folder of pictures", pictures, [*odd, *strangers])
    return _tables(root, str(root), files, strangers, odd)


def _tables(
    root: Path,
    where: str,
    files: Sequence[Listed],
    strangers: Sequence[str],
    odd: Sequence[str],
    names: Mapping[Path, str] | None = None,
) -> Source:
    """The arrays or tables among these files; ``names`` says what a file is called where that isn't its place in the folder."""
    kinds = {root / file.path: _kind(first_bytes(root / file.path, 16)) if file.size else "" for file in files}
    tables = [(path, kind) for path, kind in kinds.items() if kind in ("Parquet", *ARRAY_READERS) or _is_npz(path, kind)]
    if not tables:
        found = f"{len(files):,} files, none of them of these" if files else "no file"
        raise DataError(f"{where}: expected {READABLE}, found {found}{': ' + strangers[0] if strangers else ''}")
    if len(tables) > MAX_DATA_FILES * 16:
        raise DataError(f"{where}: expected at most {MAX_DATA_FILES * 16:,} files of arrays, found {len(tables):,}")
    parquet = [path for path, kind in tables if kind == "Parquet"]
    if parquet and len(parquet) < len(tables):
        raise DataError(f"{where}: expected one kind of data, found Parquet beside {tables[0][0].name}: leave one of them")
    classes = root / CLASSES_FILE
    source = parquet_source(parquet) if parquet else _arrays(tables, class_names_in(classes))
    used = {path for path, _ in tables} | (set() if parquet else {classes})  # a Parquet table names its classes itself
    others = [
        f"{printable((names or {}).get(path) or str(path.relative_to(root)))}: expected an array or a table of images, found "
        f"{_what(first_bytes(path, 16))}"
        for path in kinds
        if path not in used
    ]
    return replace(source, left_out=(*odd, *others, *source.left_out))


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
