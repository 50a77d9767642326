"""Dataset: what the images are, what the run finds hard and easy in them, which almost coincide, and how to add others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import jobs
from dashboard.links import begin_page
from dashboard.markdown import plain
from dashboard.permissions import may_change
from dashboard.pictures import enlarged
from dashboard.resources import LoadedRun
from dashboard.state import Visit
from dashboard.training.form import train_on
from dashboard.uploads import offer_upload
from vae import DataError, ImageDataset, RunError, list_datasets, load_dataset
from vae.data import PACKED, Split, data_root
from vae.jobs import JobError
from vae.survey import PixelStatistics, class_counts, closest_pairs, extremes, pixel_statistics, rows_of_class

TABS = ("Images", "Numbers", "Hardest and easiest", "Almost the same", "Add your own")
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
ACROSS = 8
SHOWN = 16
PAIRS = 8
IMPORT_HELP = "Pack the folder where it lies: a class for each sub-folder, the images in their own size, padded where need be."
Splits = dict[Split, ImageDataset]
Seen = tuple[Visit, LoadedRun]  # a visit and its run


@dataclass(frozen=True)
class Tile:
    """An image to show: where it is, and what is said of it."""

    data: ImageDataset
    row: int
    caption: str


def page() -> None:
    """Draw the page. It is there before the first run too: that is where images of one's own come in."""
    begun = _begin()
    st.subheader("Data set")
    name = _choose(begun)
    # NOTE: decided once: another default would take a visitor from where the first import is followed.
    first = st.session_state.setdefault("dataset-first-tab", TABS[0 if name else -1])
    images, numbers, hard, same, own = st.tabs(TABS, default=first)
    with own:
        offer_upload()
    if name is None:
        for tab in (images, numbers, hard, same):
            tab.info("There is no data set yet: add images of your own.")
        return
    try:
        splits = _load(name, _fingerprint(name))
    except DataError as error:
        with images:
            st.error(f"Data set {plain(name)} can't be shown. {plain(str(error))}")
            _offer_import(name)
        return
    seen = begun if begun is not None and begun[1].run.config.dataset == name else None
    with images:
        _images(splits, seen)
    with numbers:
        _numbers(splits)
    with hard:
        _extremes(seen, name)
    with same:
        _pairs(seen, name)


def _offer_import(name: str) -> None:
    """The button that packs a folder under ``data/`` where it lies, if that is what it takes."""
    folder, status = data_root() / name, jobs.imports().get(name)
    if not folder.is_dir() or (folder / PACKED).exists() or not may_change()[0]:
        return
    if status is not None and status.state == "running":
        st.info(f"It is being imported: “{TABS[-1]}” says how far it is.")
    elif st.button("Import it", icon=":material/move_to_inbox:", key=f"dataset-{name}-import", help=IMPORT_HELP):
        try:
            jobs.start_import_in_place(name)
        except (DataError, JobError) as error:
            st.error(plain(str(error)))
        else:
            st.rerun()


def _begin() -> Seen | None:
    try:
        return begin_page()
    except (RunError, DataError) as error:
        st.error(f"The run in the sidebar can't be shown. {plain(str(error))}")
        return None


def _choose(begun: Seen | None) -> str | None:
    """The data set to look at, at first that of the run in the sidebar; None where there is none at all."""
    names = list_datasets()
    if begun is None:
        first, about = None, "The folders under data/."
    else:
        first = begun[1].run.config.dataset
        about = "The folders under data/. The run in the sidebar was trained on the one that is chosen first."
        names = names if first in names else [first, *names]
    if not names:
        return None
    # NOTE: the key carries the run's data set: with another run, the choice begins anew.
    at = names.index(first) if first is not None else 0
    return st.selectbox("Data set", names, index=at, key=f"dataset-{first}", help=about, width=320)


def _fingerprint(name: str) -> tuple[tuple[str, int, int], ...]:
    """What changes when the data set's files do: their sizes and times."""
    files = [*data_root().glob(f"{name}/*"), *data_root().glob(f"{name}/packed/*"), *data_root().glob(f"{name}_*.csv")]
    stats = [(str(file), file.stat()) for file in sorted(files)[:1000] if file.is_file()]
    return tuple((file, stat.st_size, stat.st_mtime_ns) for file, stat in stats)


@st.cache_resource(max_entries=3, show_spinner="Reading the data set")
def _load(name: str, fingerprint: tuple[tuple[str, int, int], ...]) -> Splits:
    del fingerprint  # part of the cache's key only
    return {split: load_dataset(name, split) for split in SPLITS}


# --- images --------------------------------------------------------------------------------------------------------


def _images(splits: Splits, seen: Seen | None) -> None:
    test = splits["test"]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        split = st.segmented_control("Split", SPLITS, default="test", required=True, key="dataset-split")
        label = _class_filter(test, "dataset-class")
        if st.button("Other images", icon=":material/shuffle:"):
            st.session_state["dataset-seed"] = st.session_state.get("dataset-seed", 0) + 1
    data = splits[split]
    rows = rows_of_class(data, label)
    random = np.random.default_rng(st.session_state.get("dataset-seed", 0))
    rows = np.sort(random.permutation(rows)[:SHOWN])
    opens = "; a row's number opens it in Explore" if seen and split == "test" else ""
    st.caption(f"{len(rows)} of {len(rows_of_class(data, label)):,} {split} images, drawn at random{opens}")
    tiles = [Tile(data, row, data.class_name(row) or f"row {row:,}") for row in rows.tolist()]
    _tiles(tiles, "image", seen if split == "test" else None)


def _class_filter(data: ImageDataset, key: str) -> int | None:
    if data.labels is None:
        return None
    choices: list[int | None] = [None, *range(len(data.class_names))]
    chosen: int | None = st.selectbox(
        "Class",
        choices,
        format_func=lambda label: "all classes" if label is None else data.class_names[label],
        key=f"{key}-{data.digest}",
        width=200,
    )
    return chosen


def _tiles(tiles: Sequence[Tile], group: str, seen: Seen | None) -> None:
    """The images, eight in a row. Those of the run's test set have a button that opens them in Explore."""
    for start in range(0, len(tiles), ACROSS):
        part = tiles[start : start + ACROSS]
        for number, (column, tile) in enumerate(zip(st.columns(ACROSS), part, strict=False), start):
            with column:
                alt = f"{tile.data.name} image {tile.row}, {tile.caption}"
                st.image(enlarged(tile.data.images[tile.row]), width="stretch", alt=alt)
                st.caption(plain(tile.caption))
                _open_button(tile, f"{group}-{number}", seen)


def _open_button(tile: Tile, key: str, seen: Seen | None) -> None:
    if seen is None:
        return
    if st.button(f"Row {tile.row:,}", key=f"open-{key}", type="tertiary", help="Open this image in Explore"):
        seen[0].select(tile.row)
        st.switch_page("views/explore.py")


# --- numbers -------------------------------------------------------------------------------------------------------


def _numbers(splits: Splits) -> None:
    test = splits["test"]
    channels, height, width = test.image_shape
    sizes = ", ".join(f"{len(data):,} {split}" for split, data in splits.items())
    labels = f"{len(test.class_names)} classes" if test.labels is not None else "no labels"
    st.markdown(f"**{sizes}** images of {width} × {height} pixels, {'grey' if channels == 1 else 'RGB'}, {labels}.")
    pixels = st.container()
    if test.labels is not None:
        classes, pixels = st.columns([2, 3], gap="medium")
        with classes:
            counts = {split: class_counts(data) for split, data in splits.items()}
            st.markdown("Images of each class")
            st.dataframe(pd.DataFrame({"class": test.class_names} | counts), hide_index=True)
    with pixels:
        st.markdown("Pixel values, from 0 to 255")
        found = {split: _statistics(data.digest, data) for split, data in splits.items()}
        st.dataframe(_table(found), hide_index=True)
        part = [f"{split}: {one.images:,}, evenly spread" for split, one in found.items() if one.images < len(splits[split])]
        st.caption(f"Of a part of the images ({'; '.join(part)})." if part else "Of all images.")
        st.markdown("The mean image")
        for column, (split, statistics) in zip(st.columns(len(found)), found.items(), strict=True):
            column.image(enlarged(statistics.mean_image), caption=split, alt=f"Mean {split} image")


@st.cache_resource(max_entries=12, show_spinner="Counting pixels")
def _statistics(digest: str, _data: ImageDataset) -> PixelStatistics:
    del digest  # the cache's key
    return pixel_statistics(_data)


def _table(found: dict[Split, PixelStatistics]) -> pd.DataFrame:
    lines = []
    for split, statistics in found.items():
        names = ("red", "green", "blue") if len(statistics.mean) == 3 else ("grey",)
        for channel, name in enumerate(names):
            line = {"split": split, "channel": name, "mean": round(statistics.mean[channel], 1)}
            line["standard deviation"] = round(statistics.std[channel], 1)
            line["black (0)"] = f"{statistics.black[channel]:.1%}"
            line["white (255)"] = f"{statistics.white[channel]:.1%}"
            lines.append(line)
    return pd.DataFrame(lines)


# --- what the run says ---------------------------------------------------------------------------------------------


def _needs_a_run(name: str, part: str) -> None:
    st.info(
        f"This needs a run of {name}: choose one in the sidebar, or train one, here or with "
        f"`python -m vae train --dataset {name} --run {name}`"
    )
    if st.button(f"Train on {name}", key=f"dataset-train-{part}", icon=":material/model_training:"):
        train_on(name)
        st.switch_page("views/train.py")


def _extremes(seen: Seen | None, name: str) -> None:
    if seen is None:
        _needs_a_run(name, "extremes")
        return
    data, elbo = seen[1].data, seen[1].encodings.elbo
    label = _class_filter(data, "extremes-class")
    rows = rows_of_class(data, label)
    hardest, easiest = extremes(elbo, rows, ACROSS)
    of = "all classes" if label is None else data.class_names[label]
    st.caption(
        f"Test images of {plain(of)} by −ELBO, in nats (one sample of z; lower is better): {len(rows):,} images, "
        f"{-elbo[rows].mean():.1f} on average" if len(rows) else "This class has no test images."
    )  # fmt: skip
    for title, found in (("Hardest", hardest), ("Easiest", easiest)):
        st.markdown(f"**{title}**")
        tiles = [Tile(data, row, _scored(data, row, -float(elbo[row]))) for row in found.tolist()]
        _tiles(tiles, title.lower(), seen)


def _scored(data: ImageDataset, row: int, value: float) -> str:
    name = data.class_name(row)
    return f"{value:.1f}, {name}" if name else f"{value:.1f}"


@st.cache_resource(max_entries=4, show_spinner="Looking for pairs")
def _closest(weights_digest: str, data_digest: str, _loaded: LoadedRun) -> tuple[np.ndarray, np.ndarray]:
    del weights_digest, data_digest  # the cache's key
    rows, distances = closest_pairs(_loaded.encodings.reference_means, PAIRS)
    return _loaded.encodings.reference[rows], distances


def _pairs(seen: Seen | None, name: str) -> None:
    if seen is None:
        _needs_a_run(name, "pairs")
        return
    loaded = seen[1]
    data = loaded.data
    pairs, lengths = _closest(loaded.weights_digest, data.digest, loaded)
    compared = len(loaded.encodings.reference)
    of = "test images" if compared == len(data) else f"{compared:,} test images drawn at random of {len(data):,}"
    st.caption(
        f"The {len(pairs)} closest pairs of {of}: the distance of their posterior means in the "
        f"{len(loaded.encodings.map_dimensions)} active dimensions, exact. Twins, or images that the model can't tell apart."
    )
    tiles = []
    for (first, second), length in zip(pairs.tolist(), lengths.tolist(), strict=True):
        same = np.array_equal(data.images[first], data.images[second])
        differ = data.labels is not None and data.labels[first] != data.labels[second]
        note = f"distance {length:.3f}" + (", same pixels" if same else "") + (", other class" if differ else "")
        tiles += [Tile(data, row, ", ".join(filter(None, (data.class_name(row), note)))) for row in (first, second)]
    _tiles(tiles, "pair", seen)


if __name__ == "__main__":
    page()
