"""Folders of pictures, on disk or in a zip file: one sub-folder per class, or flat and unlabelled."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Int8, Int64

from vae.archives import read_entry
from vae.data import DataError
from vae.images import MAX_BYTES, SIGNATURES, read_picture
from vae.sources import SPLIT_WORDS, Image, Source, class_line, printable

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
MAX_DEPTH = 12
LITTER = {"thumbs.db", "desktop.ini", "__macosx"}
"""What file managers leave behind: passed over without a word, as everything is whose name begins with a dot."""


@dataclass(frozen=True)
class Listed:
    """A file of a folder or an archive: where it lies inside it, its size, and a way to read its first bytes."""

    path: PurePosixPath
    size: int
    head: Callable[[int], bytes]

    @property
    def is_picture(self) -> bool:
        """Whether its name or its first bytes announce a picture; only decoding tells whether it is one."""
        return self.path.suffix.lower() in PICTURE_ENDINGS or announces_picture(self.head(12))


def announces_picture(head: bytes) -> bool:
    """Whether these first bytes are a PNG's, JPEG's, WebP's, BMP's or GIF's."""
    known = any(head.startswith(signature) for _, signature in SIGNATURES)
    return known and (head[:4] != b"RIFF" or head[8:12] == b"WEBP")


def list_folder(root: Path) -> tuple[list[Listed], list[str]]:
    """The files below a folder in the order of their names, and a sentence on each that isn't one (links, pipes)."""
    files, odd = [], []
    for path, entry in _walk(root, PurePosixPath()):
        if entry.is_dir(follow_symlinks=False):
            odd.append(f"{printable(str(path))}: folders are looked into {MAX_DEPTH} deep: move its pictures up")
        elif entry.is_symlink() or not entry.is_file(follow_symlinks=False):
            odd.append(f"{printable(str(path))}: expected a file, found a link or a device: not followed")
        else:
            files.append(Listed(path, entry.stat(follow_symlinks=False).st_size, _head_of(Path(entry.path))))
    return files, odd


def _walk(folder: Path, inside: PurePosixPath) -> Iterator[tuple[PurePosixPath, os.DirEntry[str]]]:
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        if _is_litter(entry.name):
            continue
        if entry.is_dir(follow_symlinks=False) and len(inside.parts) < MAX_DEPTH:
            yield from _walk(Path(entry.path), inside / entry.name)
        else:
            yield inside / entry.name, entry


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name.lower() in LITTER


def _head_of(path: Path) -> Callable[[int], bytes]:
    def head(count: int) -> bytes:
        try:
            with path.open("rb") as file:
                return file.read(count)
        except OSError as error:
            raise DataError(f"it can't be read ({error.strerror})") from None

    return head


def list_archive(archive: zipfile.ZipFile, entries: Sequence[zipfile.ZipInfo]) -> list[Listed]:
    """The files of a checked zip file in the order of their names."""
    found = []
    for entry in sorted(entries, key=lambda entry: entry.filename):
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        if not any(_is_litter(part) for part in path.parts):
            found.append(Listed(path, entry.file_size, _entry_head(archive, entry)))
    return found


def _entry_head(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Callable[[int], bytes]:
    return lambda count: read_entry(archive, entry, count)


def picture_source(kind: str, files: Sequence[Listed], left_out: Sequence[str]) -> Source:
    """The pictures among these files. The first folder below what all share names the class; if that folder is a split
    (train, validation, test) everywhere, the next one does."""
    splits, labels, class_names, stray = _arranged([file.path for file in files])
    kept = [number for number in range(len(files)) if number not in stray]
    pictures = [files[number] for number in kept]
    beside = [f"{printable(str(files[number].path))}: it lies beside the class folders: put it into one" for number in stray]
    listing = hashlib.blake2b(digest_size=8)
    for file in pictures:
        listing.update(f"{file.path} {file.size}\n".encode("utf-8", "surrogateescape"))

    def read(row: int) -> Image:
        # NOTE: one byte more than a picture may have, so that `read_picture` sees that there is more.
        pixels = read_picture(pictures[row].head(MAX_BYTES + 1)).pixels
        colourless = bool((pixels == pixels[..., :1]).all())
        return np.ascontiguousarray(pixels[..., 0]) if colourless else pixels

    return Source(
        kind=kind,
        count=len(pictures),
        read=read,
        name=lambda row: printable(str(pictures[row].path)),
        fingerprint=listing.hexdigest(),
        labels=None if labels is None else labels[kept],
        class_names=class_names,
        splits=None if splits is None else splits[kept],
        left_out=(*left_out, *beside),
    )


def _arranged(
    paths: Sequence[PurePosixPath],
) -> tuple[Int8[np.ndarray, " n"] | None, Int64[np.ndarray, " n"] | None, tuple[str, ...], set[int]]:
    """Splits, labels, class names, and the rows that lie beside the class folders, as the folders say."""
    folders = _without_shared([path.parts[:-1] for path in paths])
    splits = None
    if all(folder and folder[0].lower() in SPLIT_WORDS for folder in folders):
        splits = np.array([SPLIT_WORDS[folder[0].lower()] for folder in folders], dtype=np.int8)
        folders = _without_shared([folder[1:] for folder in folders])
    stray = {number for number, folder in enumerate(folders) if not folder}
    if 2 * len(stray) > len(folders):
        return splits, None, (), set()
    names = sorted({folder[0] for folder in folders if folder})
    index = {name: number for number, name in enumerate(names)}
    labels = np.array([index[folder[0]] if folder else 0 for folder in folders], dtype=np.int64)
    return splits, labels, tuple(class_line(name) for name in names), stray


def _without_shared(folders: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The folders without the leading ones that all of them share."""
    first, last = min(folders), max(folders)  # what these two share, all share that lie between them
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    depth = sum(1 for _ in pairs)
    return [folder[depth:] for folder in folders]
