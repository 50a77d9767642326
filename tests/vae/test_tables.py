"""The encoded test set as files, read back by pandas, pyarrow and numpy."""

from __future__ import annotations

import dataclasses
import io
import json

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest

from vae import Encodings, Map, MapConfig, Run, arrays_npz, encodings_table, load_test_data, make_dataset, make_map, table_bytes
from vae.config import to_json

NAMES = ["row", "split", "label", "class", "elbo_nats", "reconstruction_nats", "kl_nats"]


@pytest.fixture
def found(tiny_run: Run) -> Map:
    return make_map(tiny_run, MapConfig(method="pca"))


def test_the_table_says_of_each_image_what_the_run_says(tiny_run: Run, found: Map) -> None:
    encodings, data = tiny_run.load_encodings(), load_test_data(tiny_run)
    table = encodings_table(encodings, data, found)
    per_dimension = [f"{name}_{index}" for name in ("mean", "logvar") for index in range(3)]
    assert list(table.columns) == [*NAMES, *per_dimension, "pca_x", "pca_y"]
    assert len(table) == 24
    row = table.iloc[5]
    assert (row["row"], row["split"], row["class"]) == (5, "test", data.class_name(5))
    assert row["mean_2"] == encodings.mean[5, 2]
    assert row["logvar_0"] == encodings.logvar[5, 0]
    assert (row["pca_x"], row["pca_y"]) == tuple(found.coordinates[5])
    report = tiny_run.reports()["samples=1,seed=0"]
    assert table["elbo_nats"].mean() == pytest.approx(report["elbo"], abs=1e-4)
    assert table["kl_nats"].mean() == pytest.approx(report["kl"], abs=1e-4)
    mean, logvar = (table[[f"{name}_{index}" for index in range(3)]].to_numpy(float) for name in ("mean", "logvar"))
    closed_form = 0.5 * (np.exp(logvar) + mean**2 - 1 - logvar).sum(axis=1)
    np.testing.assert_allclose(table["kl_nats"], closed_form, rtol=1e-4, atol=1e-5)


def test_without_labels_or_a_map_their_columns_are_absent(tiny_run: Run) -> None:
    data = make_dataset(load_test_data(tiny_run).images)
    table = encodings_table(tiny_run.load_encodings(), data)
    assert not {"label", "class", "pca_x", "umap_x"} & set(table.columns)


def test_a_csv_reads_back_as_the_very_numbers(tiny_run: Run, found: Map) -> None:
    table = encodings_table(tiny_run.load_encodings(), load_test_data(tiny_run), found)
    kinds = {name: table[name].dtype for name in table.columns if table[name].dtype == np.float32}
    back = pd.read_csv(io.BytesIO(table_bytes(table, "csv")), dtype=kinds)
    assert len(kinds) == 3 + 6 + 2
    for name in table.columns:
        assert back[name].tolist() == table[name].tolist(), name


def test_a_parquet_holds_the_same_columns_and_types(tiny_run: Run, found: Map) -> None:
    table = encodings_table(tiny_run.load_encodings(), load_test_data(tiny_run), found)
    back = pyarrow.parquet.read_table(io.BytesIO(table_bytes(table, "parquet")))
    assert back.column_names == list(table.columns)
    assert str(back.schema.field("mean_0").type) == "float"
    for name in table.columns:
        assert back[name].to_pylist() == table[name].tolist(), name


@pytest.mark.parametrize("name", ["=cmd()", "+1", "-2", "@x", "\tx", 'say "x", or,\n=y'])
def test_a_class_named_like_a_formula_is_no_formula_in_a_csv(tiny_run: Run, name: str) -> None:
    data = load_test_data(tiny_run)
    named = make_dataset(data.images, data.labels, (name, "plain", "whole"))
    content = table_bytes(encodings_table(tiny_run.load_encodings(), named), "csv")
    back = pd.read_csv(io.BytesIO(content))
    of_class = back["class"][data.labels == 0]
    assert set(of_class) == ({f"'{name}"} if not name.startswith("say") else {name})
    assert back["label"].tolist() == data.labels.tolist()


def test_an_npz_holds_means_and_every_map_without_pickle(tiny_run: Run, found: Map) -> None:
    encodings, data = tiny_run.load_encodings(), load_test_data(tiny_run)
    umap = dataclasses.replace(found, coordinates=found.coordinates + 1, config=MapConfig(neighbors=5))
    content = arrays_npz(encodings, data, [found, umap], "tiny-run", "abc")
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        for name, expected in (
            ("mean", encodings.mean),
            ("logvar", encodings.logvar),
            ("reconstruction_nats", encodings.reconstruction),
            ("kl_nats", encodings.kl),
            ("labels", data.labels),
            ("map_0", found.coordinates),
            ("map_1", umap.coordinates),
        ):
            assert np.array_equal(archive[name], expected), name
        assert archive["class_names"].tolist() == ["left", "right", "whole"]
        info = json.loads(str(archive["info"]))
    assert info["maps"]["map_0"] == to_json(MapConfig(method="pca"))
    assert info["maps"]["map_1"]["neighbors"] == 5
    assert (info["run"], info["weights_digest"], info["data_digest"]) == ("tiny-run", "abc", data.digest)


def test_an_npz_without_labels(tiny_run: Run) -> None:
    data = make_dataset(load_test_data(tiny_run).images)
    with np.load(io.BytesIO(arrays_npz(tiny_run.load_encodings(), data, [])), allow_pickle=False) as archive:
        assert set(archive.files) == {"info", "mean", "logvar", "reconstruction_nats", "kl_nats"}


def test_encodings_of_other_images_are_refused(tiny_run: Run) -> None:
    encodings = tiny_run.load_encodings()
    fewer = Encodings(*(getattr(encodings, field.name)[:9] for field in dataclasses.fields(encodings)))
    with pytest.raises(ValueError, match="expected 9 images and places on the map, as many as encodings"):
        encodings_table(fewer, load_test_data(tiny_run))
