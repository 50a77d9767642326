"""Parquet tables with a column of encoded pictures, as Hugging Face lays them out: ``struct{bytes, path}`` and a label."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vae.archives import FREE_BYTES, MAX_RATIO
from vae.data import DataError
from vae.images import read_picture
from vae.sources import UNSAID, Image, Source, numbered, split_of

MAX_GROUP_BYTES = 2 * 2**30
MAX_ROWS = 10_000_000
MAX_LABEL_TEXT = 2**28
LABELS = ("label", "labels", "class", "target", "fine_label")
_EXPECTED = "expected a column of pictures (binary, or struct{bytes, path}) and, if there are labels, a column called label"


def parquet_source(paths: Sequence[Path]) -> Source:
    """The pictures of these tables, one after another, read a row group at a time. Only ``bytes`` are used: a ``path`` in
    the table is never followed.

    Raises:
        DataError: a table that is cut or foreign, or has no pictures.
    """
    tables = [_Table(path) for path in sorted(paths, key=lambda path: (split_of(path.name), path.name))]
    ends = np.cumsum([table.rows for table in tables])
    if not ends[-1]:
        raise DataError(f"{tables[0].path.name}: {_EXPECTED}, found no rows")
    labels, class_names = _labels(tables)
    splits = np.concatenate([np.full(table.rows, split_of(table.path.name), np.int8) for table in tables])

    def place(row: int) -> tuple[_Table, int]:
        number = int(np.searchsorted(ends, row, side="right"))
        return tables[number], row - int(ends[number]) + tables[number].rows

    def read(row: int) -> Image:
        table, inside = place(row)
        content = table.content(inside)
        if content is None:
            raise DataError("the table holds no bytes for it")
        pixels = read_picture(content).pixels
        colourless = bool((pixels == pixels[..., :1]).all())
        return np.ascontiguousarray(pixels[..., 0]) if colourless else pixels

    def name(row: int) -> str:
        table, inside = place(row)
        return f"{table.path.name}, row {inside:,}"

    return Source(
        kind="a Parquet table of pictures" if len(tables) == 1 else f"{len(tables)} Parquet tables of pictures",
        count=int(ends[-1]),
        read=read,
        name=name,
        fingerprint=" ".join(f"{table.path.name}:{table.rows}:{table.path.stat().st_size}" for table in tables),
        labels=labels,
        class_names=class_names,
        splits=splits if (splits != UNSAID).any() else None,
    )


def _labels(tables: list[_Table]) -> tuple[np.ndarray | None, tuple[str, ...]]:
    parts = [table.labels() for table in tables]
    if any(part is None for part in parts):
        return None, ()
    values = np.concatenate([part for part in parts if part is not None])
    if values.dtype.kind == "i" and (values == -1).all():  # how Hugging Face writes a split without labels
        return None, ()
    return numbered(values, tables[0].class_names(), tables[0].path.name)


class _Table:
    """One file, and the row group that was read last."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        self.path = path
        try:
            self._file = pq.ParquetFile(path)
            self._schema = self._file.schema_arrow
        except Exception as error:  # NOTE: on a hostile file pyarrow raises its own types and Python's
            raise self._damaged(error) from None
        groups = [self._file.metadata.row_group(number) for number in range(self._file.metadata.num_row_groups)]
        for group in groups:
            # NOTE: the metadata of a column is not asked for: of a damaged one, pyarrow ends the whole process.
            size, packed = group.total_byte_size, path.stat().st_size
            if size > MAX_GROUP_BYTES or (size > FREE_BYTES and size > MAX_RATIO * packed):
                raise DataError(f"{path.name}: a row group would take {size:,} bytes: write it again with smaller row groups")
        self.rows = sum(group.num_rows for group in groups)
        if any(group.num_rows < 0 for group in groups):
            raise self._damaged(ValueError("a row group of fewer than no rows"))
        if self.rows > MAX_ROWS:
            raise DataError(f"{path.name}: expected at most {MAX_ROWS:,} rows in a table, found {self.rows:,}: split it")
        self._ends = np.cumsum([group.num_rows for group in groups]) if groups else np.zeros(1, np.int64)
        self._images = self._image_column()
        self._group, self._held = -1, list[bytes | None]()

    def _damaged(self, error: Exception) -> DataError:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return DataError(f"{self.path.name}: expected a whole Parquet file, it is cut or damaged ({reason}): fetch it again")

    def _image_column(self) -> str:
        import pyarrow.types as types

        def binary(kind: Any) -> bool:
            return bool(types.is_binary(kind) or types.is_large_binary(kind))

        for field in self._schema:
            if types.is_struct(field.type) and any(part.name == "bytes" and binary(part.type) for part in field.type):
                return str(field.name)
        for field in self._schema:
            if binary(field.type):
                return str(field.name)
        found = ", ".join(f"{field.name} ({field.type})"[:80] for field in list(self._schema)[:6])
        raise DataError(f"{self.path.name}: {_EXPECTED}, found {found}")

    def _read(self, what: Callable[[], Any]) -> Any:
        try:
            return what()
        except Exception as error:  # NOTE: as above
            raise self._damaged(error) from None

    def content(self, row: int) -> bytes | None:
        """The encoded picture of a row."""
        group = int(np.searchsorted(self._ends, row, side="right"))
        if group != self._group:
            values = self._read(lambda: self._file.read_row_group(group, columns=[self._images]).column(0).to_pylist())
            self._held = [value.get("bytes") if isinstance(value, dict) else value for value in values]
            self._group = group
        expected = int(self._ends[group] - (self._ends[group - 1] if group else 0))
        if len(self._held) != expected:
            raise DataError(f"its row group says {expected:,} rows and holds {len(self._held):,}: the table is damaged")
        return self._held[row - int(self._ends[group])]  # counted from the group's end

    def labels(self) -> np.ndarray | None:
        """The column of labels, or None without one. A row that has none is refused, by name."""
        column = next((name for name in LABELS if name in self._schema.names), None)
        if column is None:
            return None
        values = self._read(lambda: self._file.read(columns=[column]).column(0))
        if values.null_count == self.rows:
            return None
        if values.null_count:
            raise DataError(f"{self.path.name}: expected a label in each row, {values.null_count:,} have none")
        encoded = self._read(lambda: values.combine_chunks().dictionary_encode())
        distinct = np.array(self._read(lambda: encoded.dictionary.to_pylist()))
        if distinct.ndim != 1 or distinct.dtype.itemsize * self.rows > MAX_LABEL_TEXT:
            raise DataError(f"{self.path.name}: expected labels that are numbers or short texts, found {values.type}")
        return np.asarray(distinct[encoded.indices.to_numpy()])

    def class_names(self) -> tuple[str, ...]:
        """The names of the classes where the table says them, as Hugging Face's does."""
        try:
            features = json.loads(self._schema.metadata[b"huggingface"])["info"]["features"]
            return tuple(str(name) for name in next(features[name] for name in LABELS if name in features)["names"])
        except (KeyError, TypeError, ValueError, StopIteration, RecursionError):
            return ()
