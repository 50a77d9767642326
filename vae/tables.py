"""The encoded test set as a table (CSV, Parquet) and as arrays (NPZ). No pickle anywhere."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from vae.config import to_json
from vae.data import ImageDataset
from vae.encodings import Encodings
from vae.runs import Map

TableFormat = Literal["csv", "parquet"]
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def plain_cell(text: str) -> str:
    """A text that no spreadsheet runs: one that begins like a formula gets an apostrophe in front."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def encodings_table(encodings: Encodings, data: ImageDataset, found: Map | None = None) -> pd.DataFrame:
    """One row an image of the test set.

    Columns: ``row``, ``split``, with labels ``label`` and ``class``; the ELBO and its terms from one sample of z
    (``elbo_nats = reconstruction_nats - kl_nats``); the posterior as ``mean_0 ...`` and ``logvar_0 ...`` (the log of the
    variance); with a map its coordinates, named for its method, as ``umap_x`` and ``umap_y``.

    Raises:
        ValueError: encodings, data and map that aren't of the same images.
    """
    count, latent = encodings.mean.shape
    if len(data) != count or (found is not None and len(found.coordinates) != count):
        raise ValueError(f"expected {count:,} images and places on the map, as many as encodings")
    columns: dict[str, object] = {"row": np.arange(count), "split": ["test"] * count}
    if data.labels is not None:
        columns |= {"label": data.labels, "class": np.array(data.class_names, dtype=object)[data.labels]}
    columns |= {
        "elbo_nats": encodings.elbo,
        "reconstruction_nats": encodings.reconstruction,
        "kl_nats": encodings.kl,
    }
    columns |= {f"mean_{index}": encodings.mean[:, index] for index in range(latent)}
    columns |= {f"logvar_{index}": encodings.logvar[:, index] for index in range(latent)}
    if found is not None:
        columns |= {f"{found.config.method}_{axis}": column for axis, column in zip("xyz", found.coordinates.T, strict=False)}
    return pd.DataFrame(columns)


def table_csv(table: pd.DataFrame) -> bytes:
    """The table as CSV in UTF-8; the numbers read back as the very same.

    Class names come from files, so each is made a `plain_cell`. The column ``label`` still tells which class it is.
    """
    safe = table
    if "class" in table:
        safe = table.assign(**{"class": [plain_cell(name) for name in table["class"]]})
    return safe.to_csv(index=False, lineterminator="\n").encode()


def table_parquet(table: pd.DataFrame) -> bytes:
    """The table as Parquet, with the types that it has."""
    return bytes(table.to_parquet(index=False, engine="pyarrow"))


def table_bytes(table: pd.DataFrame, kind: TableFormat) -> bytes:
    """The table as a file of that format."""
    return table_csv(table) if kind == "csv" else table_parquet(table)


def arrays_npz(encodings: Encodings, data: ImageDataset, maps: Sequence[Map], run: str = "", weights_digest: str = "") -> bytes:
    """Everything in one ``.npz`` that ``numpy.load(file, allow_pickle=False)`` reads.

    ``mean`` and ``logvar (n, latent)``, ``reconstruction_nats`` and ``kl_nats (n,)``, with labels ``labels (n,)`` and
    ``class_names``; ``map_0``, ``map_1``, ... ``(n, 2)`` or ``(n, 3)``; and ``info``, a JSON text: run, digests, and the
    parameters of each map in ``info["maps"]``.
    """
    arrays = {
        "mean": encodings.mean,
        "logvar": encodings.logvar,
        "reconstruction_nats": encodings.reconstruction,
        "kl_nats": encodings.kl,
    }
    if data.labels is not None:
        arrays |= {"labels": data.labels, "class_names": np.array(data.class_names, dtype=np.str_)}
    arrays |= {f"map_{index}": found.coordinates for index, found in enumerate(maps)}
    info = {
        "run": run,
        "weights_digest": weights_digest,
        "dataset": data.name,
        "data_digest": data.digest,
        "split": "test",
        "maps": {f"map_{index}": to_json(found.config) for index, found in enumerate(maps)},
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, info=np.array(json.dumps(info)), **arrays)
    return buffer.getvalue()
