"""Every format gives the pixels that went in, and whatever is wrong or hostile gives a sentence and leaves nothing behind."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from vae.data import DataError
from vae.images import ImageError
from vae.readers import open_source
from vae.sources import Source

RGB = np.random.default_rng(3).integers(0, 256, (6, 16, 20, 3)).astype(np.uint8)
GREY = np.random.default_rng(4).integers(0, 256, (6, 8, 8)).astype(np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def png(image: np.ndarray, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, form)
    return buffer.getvalue()


def idx_bytes(array: np.ndarray) -> bytes:
    return b"\x00\x00\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def files_of_pictures(images: np.ndarray, labels: np.ndarray | None) -> dict[str, bytes]:
    """A file for each picture, by its path."""
    folders = [""] * len(images) if labels is None else [f"class-{label}/" for label in labels]
    return {f"{folder}{number:03}.png": png(image) for number, (folder, image) in enumerate(zip(folders, images, strict=True))}


def write_folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def write_zip(path: Path, files: dict[str, bytes], prefix: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(prefix + name, content)
    return path


def write_parquet(path: Path, images: np.ndarray, labels: np.ndarray | None) -> Path:
    pictures = [{"bytes": png(image), "path": f"../../{number}.png"} for number, image in enumerate(images)]
    columns: dict[str, object] = {"image": pa.array(pictures, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))}
    columns |= {} if labels is None else {"label": pa.array(labels)}
    features = {"label": {"names": ["ash", "birch", "cedar"], "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    table = pa.table(columns).replace_schema_metadata({"huggingface": pd.io.json.ujson_dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=2)
    return path


def write_csv(path: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    columns = ["label", *(f"pixel{number}" for number in range(1, images[0].size + 1))]
    pd.DataFrame(np.column_stack([labels, images.reshape(len(images), -1)]), columns=columns).to_csv(path, index=False)
    return path


def everything(source: Source) -> list[np.ndarray]:
    return [source.read(row) for row in range(source.count)]


def temporary() -> set[str]:
    """The temporary folders that belong to this package."""
    return {path.name for path in Path(tempfile.gettempdir()).glob("latent-explorer-*")}


# --- good ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("images", [RGB, GREY], ids=["rgb", "grey"])
@pytest.mark.parametrize("form", ["folder", "zip", "npz", "npy", "parquet"])
def test_every_format_gives_the_same_pixels_and_classes(tmp_path: Path, form: str, images: np.ndarray, labelled: bool) -> None:
    labels = LABELS if labelled else None
    path = tmp_path / "source"
    if form == "folder":
        write_folder(path, files_of_pictures(images, labels))
    elif form == "zip":
        write_zip(path, files_of_pictures(images, labels), prefix="pets/")
    elif form == "npz":
        with path.open("wb") as file:
            np.savez_compressed(file, images=images, **({"labels": labels} if labelled else {}))
    elif form == "npy":
        path.mkdir()
        np.save(path / "images.npy", images)
        if labelled:
            np.save(path / "labels.npy", LABELS)
    else:
        write_parquet(path, images, labels)
    with open_source(path) as source:
        assert source.count == 6
        assert sorted(image.tobytes() for image in everything(source)) == sorted(image.tobytes() for image in images)
        assert {image.shape for image in everything(source)} == {images.shape[1:]}
        if not labelled:
            assert source.labels is None
            return
        names = {"folder": "class-{}", "zip": "class-{}", "parquet": "{}"}.get(form, "{}")
        expected = ["ash", "birch", "cedar"] if form == "parquet" else [names.format(label) for label in range(3)]
        assert list(source.class_names) == expected
        assert source.labels is not None
        by_pixels = {image.tobytes(): label for image, label in zip(images, LABELS, strict=True)}
        assert [by_pixels[image.tobytes()] for image in everything(source)] == source.labels.tolist()
        assert source.left_out == ()


def test_csv_and_idx(tmp_path: Path, write_idx: Callable[[Path, np.ndarray], None]) -> None:
    with open_source(write_csv(tmp_path / "table", GREY, LABELS)) as source:
        assert np.array_equal(everything(source), GREY)
        assert source.labels is not None
        assert source.labels.tolist() == LABELS.tolist()
    (tmp_path / "idx").mkdir()
    for part in ("train", "t10k"):
        write_idx(tmp_path / "idx" / f"{part}-images-idx4-ubyte.gz", RGB.transpose(0, 3, 1, 2))
        write_idx(tmp_path / "idx" / f"{part}-labels-idx1-ubyte", LABELS.astype(np.uint8))
    (tmp_path / "idx" / "classes.txt").write_text("ash\nbirch\ncedar\n")
    with open_source(tmp_path / "idx") as source:
        assert np.array_equal(everything(source), [*RGB, *RGB])
        assert source.splits is not None
        assert source.splits.tolist() == [0] * 6 + [2] * 6
        assert source.class_names == ("ash", "birch", "cedar")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    form=st.sampled_from(["zip", "npz", "npy", "parquet"]),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.sampled_from([1, 3]),
)
def test_pixels_survive_any_format_at_any_size(
    tmp_path: Path, seed: int, form: str, height: int, width: int, channels: int
) -> None:
    shape = (4, height, width) if channels == 1 else (4, height, width, 3)
    images = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    path = tmp_path / "any"
    path.unlink(missing_ok=True)
    if form == "zip":
        write_zip(path, files_of_pictures(images, None))
    elif form == "parquet":
        write_parquet(path, images, None)
    else:
        with path.open("wb") as file:
            np.savez(file, arr_0=images) if form == "npz" else np.save(file, images)
    with open_source(path) as source:
        for found, image in zip(everything(source), images, strict=True):
            if image.ndim == 3 and found.ndim == 2:  # every pixel happens to be grey
                assert (image == found[..., None]).all()
            elif form in ("npz", "npy") and channels == 1 and width in (1, 3):
                assert found.tobytes() == image.tobytes()
            else:
                assert np.array_equal(found, image)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (GREY.astype(np.int64), GREY),
        (GREY.astype(np.float32) / 255, GREY),
        (GREY > 127, np.where(GREY > 127, 255, 0)),
        (GREY[..., None], GREY),
        (GREY[:, None], GREY),
        (RGB.transpose(0, 3, 1, 2), RGB),
        (np.asfortranarray(RGB), RGB),
    ],
)
def test_other_layouts_and_scales(tmp_path: Path, values: np.ndarray, expected: np.ndarray) -> None:
    np.save(tmp_path / "images.npy", values)
    with open_source(tmp_path / "images.npy") as source:
        assert np.array_equal(everything(source), expected)


def test_the_names_of_arrays_say_splits(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "a.npz",
        x_train=RGB,
        y_train=LABELS,
        x_test=RGB[:2],
        y_test=LABELS[:2, None],
        val_images=RGB[:1],
        val_labels=LABELS[:1],
        class_names=np.array(["ash", "birch", "cedar"]),
        about=np.float64(1.0),
    )
    with open_source(tmp_path / "a.npz") as source:
        assert source.splits is not None
        assert source.splits.tolist() == [0] * 6 + [1] + [2] * 2
        assert source.labels is not None
        assert source.labels.tolist() == [*LABELS, 0, 0, 1]
        assert source.class_names == ("ash", "birch", "cedar")
        assert source.name(7) == "a.npz/x_test, row 0"
        assert ["about: neither images" in line for line in source.left_out] == [True]


def test_labels_that_are_text_or_have_gaps_become_classes(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=GREY, labels=np.array(["elm", "ash", "elm", "oak", "oak", "ash"]))
    with open_source(tmp_path / "a.npz") as source:
        assert source.class_names == ("ash", "elm", "oak")
        assert source.labels is not None
        assert source.labels.tolist() == [1, 0, 1, 2, 2, 0]
    np.savez(tmp_path / "b.npz", images=GREY, labels=np.array([7, -2, 7, 40, 40, -2]))
    with open_source(tmp_path / "b.npz") as source:
        assert source.class_names == ("-2", "7", "40")


@pytest.mark.parametrize("wrapped", ["", "everything/"])
def test_folders_that_name_splits_and_litter_that_is_passed_over(tmp_path: Path, wrapped: str) -> None:
    files = {
        f"{split}/{name}": content for split in ("train", "test") for name, content in files_of_pictures(RGB, LABELS).items()
    }
    write_folder(tmp_path / "own", {wrapped + name: content for name, content in files.items()})
    write_folder(tmp_path / "own", {".DS_Store": b"x", "__MACOSX/._a.png": b"x", "train/Thumbs.db": b"x"})
    with open_source(tmp_path / "own") as source:
        assert source.class_names == ("class-0", "class-1", "class-2")
        assert source.splits is not None
        assert sorted(source.splits.tolist()) == [0] * 6 + [2] * 6
        assert source.left_out == ()


def test_a_zip_file_of_arrays_is_read_too(tmp_path: Path) -> None:
    for name, values in (("images", RGB), ("labels", LABELS)):
        np.save(tmp_path / f"{name}.npy", values)
    files = {f"deep/er/test-{name}.npy": (tmp_path / f"{name}.npy").read_bytes() for name in ("images", "labels")}
    before = temporary()
    # NOTE: an .npz file is a zip file of .npy files: the same thing, told by nothing but its content.
    with open_source(write_zip(tmp_path / "arrays.zip", files)) as source:
        assert np.array_equal(everything(source), RGB)
    table = write_csv(tmp_path / "table.csv", GREY, LABELS).read_bytes()
    with open_source(write_zip(tmp_path / "table.zip", {"../x".replace("../", "sub/"): table})) as source:
        assert np.array_equal(everything(source), GREY)
        assert temporary() - before  # while it is read
    assert temporary() == before


@pytest.mark.parametrize("form", ["IDX", "Parquet", "CSV"])
def test_a_zip_of_too_many_data_files_is_refused_and_not_read_in_part(tmp_path: Path, form: str) -> None:
    if form == "Parquet":
        content = write_parquet(tmp_path / "one", RGB, LABELS).read_bytes()
    else:
        content = idx_bytes(GREY) if form == "IDX" else write_csv(tmp_path / "one", GREY, LABELS).read_bytes()
    files = {f"part-{number:02}": content for number in range(65)}
    sentence = refused(write_zip(tmp_path / "a.zip", files))
    expected = "a.zip: expected pictures, or at most 64 other files, found 65 files and no picture: unpack it and import"
    assert expected in sentence
    files.popitem()
    with open_source(write_zip(tmp_path / "b.zip", files)) as source:
        assert source.count == 64 * 6
        assert source.left_out == ()


@pytest.mark.parametrize("form", ["IDX", "NPY"])
def test_a_zip_of_arrays_keeps_its_class_names_and_names_what_is_no_array(tmp_path: Path, form: str) -> None:
    files = {"set/README.md": b"# Trees", "set/classes.txt": "Eibe\nFöhre\nTanne\n".encode()}
    for name, values in (("images", RGB.transpose(0, 3, 1, 2)), ("labels", LABELS.astype(np.uint8))):
        buffer = io.BytesIO()
        np.save(buffer, values)
        files[f"set/{name}"] = idx_bytes(values) if form == "IDX" else buffer.getvalue()
    with open_source(write_zip(tmp_path / "a.zip", files)) as source:
        assert np.array_equal(everything(source), RGB)
        assert source.class_names == ("Eibe", "Föhre", "Tanne")
        assert source.name(0) == "images, row 0"
        assert source.left_out == ("set/README.md: expected an array or a table of images, found text",)


@pytest.mark.parametrize("form", ["npy", "parquet"])
def test_what_is_no_table_in_a_folder_of_tables_is_named(tmp_path: Path, form: str) -> None:
    own = write_folder(tmp_path / "own", {"notes/README.md": b"# Trees", "empty.csv": b""})
    (own / "link").symlink_to(tmp_path)
    np.save(own / "images.npy", RGB) if form == "npy" else write_parquet(own / "images.parquet", RGB, None)
    with open_source(own) as source:
        assert source.count == 6
        assert source.left_out == (
            "link: expected a file, found a link or a device: not followed",
            "empty.csv: expected an array or a table of images, found an empty file",
            "notes/README.md: expected an array or a table of images, found text",
        )


# --- one bad file among good ones ----------------------------------------------------------------------------------


def usable(source: Source) -> tuple[int, list[str]]:
    good, bad = 0, list(source.left_out)
    for row in range(source.count):
        try:
            source.read(row)
            good += 1
        except (ImageError, DataError) as error:
            bad.append(f"{source.name(row)}: {error}")
    return good, bad


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_each_bad_file_is_named_and_stops_nothing(tmp_path: Path, form: str) -> None:
    files = files_of_pictures(RGB, LABELS)
    files |= {
        "class-0/cut.png": png(RGB[0])[:200],
        "class-0/text.jpg": b"not a picture",
        "class-0/empty.png": b"",
        "class-1/notes.md": b"# notes",
        "class-1/a-png-called.txt": png(RGB[0]),
        "class-2/a-jpeg-called.png": png(RGB[1], "JPEG"),
        "stray.png": png(RGB[2]),
        "class-1/evil\x1b[2J.png": b"hello",
    }
    path = tmp_path / "own"
    write_folder(path, files) if form == "folder" else write_zip(path, files)
    with open_source(path) as source:
        good, bad = usable(source)
    assert good == 8  # six, and the two that are pictures whatever they are called
    text = "\n".join(bad)
    assert len(bad) == 6
    assert "class-0/cut.png: The PNG file is cut or damaged" in text
    assert "class-0/text.jpg: Expected a PNG, JPEG, WebP, BMP or GIF picture, found text" in text
    assert "class-0/empty.png: Expected a PNG, JPEG, WebP, BMP or GIF picture, found an empty file" in text
    assert "class-1/notes.md: expected a picture, found text" in text
    assert "stray.png: it lies beside the class folders: put it into one" in text
    assert "class-1/evil?[2J.png" in text


def test_links_pipes_and_deep_folders_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png(RGB[0]))
    own = write_folder(tmp_path / "own", files_of_pictures(RGB, None))
    (own / "link.png").symlink_to(tmp_path / "secret.png")
    (own / "loop").symlink_to(own)
    os.mkfifo(own / "pipe.png")
    deep = own.joinpath(*["d"] * 20)
    deep.mkdir(parents=True)
    (deep / "a.png").write_bytes(png(RGB[0]))
    with open_source(own) as source:
        good, bad = usable(source)
    assert good == 6
    assert sorted(line.partition(":")[0] for line in bad) == ["/".join(["d"] * 13), "link.png", "loop", "pipe.png"]


def test_a_parquet_row_without_bytes_is_left_out_and_its_path_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png(RGB[0]))
    rows = [{"bytes": None, "path": str(tmp_path / "secret.png")}, {"bytes": png(RGB[1]), "path": None}, None]
    image = pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    pq.write_table(pa.table({"image": image}), tmp_path / "a.parquet")
    with open_source(tmp_path / "a.parquet") as source:
        assert usable(source) == (1, [f"a.parquet, row {row}: the table holds no bytes for it" for row in (0, 2)])


def test_a_row_group_that_holds_fewer_rows_than_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_parquet(tmp_path / "a.parquet", RGB, LABELS)  # three groups of two
    with open_source(path) as source:
        real = pq.ParquetFile.read_row_group

        def short(file: pq.ParquetFile, group: int, columns: list[str]) -> pa.Table:
            table = real(file, group, columns=columns)
            return table.slice(0, 1) if group == 1 else table

        monkeypatch.setattr(pq.ParquetFile, "read_row_group", short)
        good, bad = usable(source)
    reason = "its row group says 2 rows and holds 1: the table is damaged"
    assert (good, bad) == (4, [f"a.parquet, row {row}: {reason}" for row in (2, 3)])


# --- hostile -------------------------------------------------------------------------------------------------------


def refused(path: Path) -> str:
    """The sentence with which a source is refused; nothing may have been written anywhere near it."""
    near = sorted(path.parent.rglob("*"))
    before = temporary()
    with pytest.raises(DataError) as caught, open_source(path):
        pass
    assert sorted(path.parent.rglob("*")) == near
    assert temporary() == before
    return str(caught.value)


@pytest.mark.parametrize(
    "name", ["../evil.png", "/etc/evil.png", "a/../../evil.png", "..\\evil.png", "C:evil.png", "\\evil.png"]
)
def test_a_zip_that_leads_out_of_itself(tmp_path: Path, name: str) -> None:
    files = files_of_pictures(RGB, None) | {name: png(RGB[0])}
    assert "which leads out of it: refused" in refused(write_zip(tmp_path / "a.zip", files))


def test_a_zip_with_a_link(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", png(RGB[0]))
        link = zipfile.ZipInfo("b.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert refused(tmp_path / "a.zip") == "a.zip: expected files and folders, found 'b.png', a link or a device: refused"


def test_a_zip_with_a_password(tmp_path: Path) -> None:
    content = bytearray(write_zip(tmp_path / "a.zip", {"a.png": png(RGB[0])}).read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    assert refused(tmp_path / "a.zip") == "a.zip: 'a.png' is encrypted: make the zip file without a password"


def test_a_bomb(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.bmp": b"BM" + bytes(80 * 2**20)})
    assert path.stat().st_size < 2**20
    assert "it would unpack to" in refused(path)


@pytest.mark.parametrize("name", ["a.bmp", "a.npy"])
def test_a_bomb_whose_entries_share_one_place(tmp_path: Path, name: str) -> None:
    """Each entry alone unpacks to 33 times its size, all 200 of them to thousands of times that of the file."""
    content = b"BM" + bytes(2**20) + np.random.default_rng(0).bytes(2**15)
    file = (path := write_zip(tmp_path / "a.zip", {name: content})).read_bytes()
    start, end = file.index(b"PK\x01\x02"), file.index(b"PK\x05\x06")
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 200, 200, 200 * (end - start), start, 0)
    path.write_bytes(file[:start] + file[start:end] * 200 + tail)
    assert path.stat().st_size < 2**16
    assert "it would unpack to" in refused(path)


def central(count: int, size: int = 0) -> bytes:
    """A zip file whose list says ``count`` empty entries, without any."""
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", 20, 0, 20, 0, 0, 0, 0, 0, 0, 0, size, 5, 0, 0, 0, 0, 0, 0) + b"a.png"
    listing = entry * count
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, min(count, 65535), min(count, 65535), len(listing), 4, 0)
    return b"PK\x03\x04" + listing + end


def test_a_zip_with_a_million_entries_is_refused_before_they_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(central(1_000_000))
    assert "its list of entries has 51,000,000 bytes, at most 16,777,216 are read" in refused(tmp_path / "a.zip")
    (tmp_path / "b.zip").write_bytes(central(100_001))
    assert "expected at most 100,000 entries, found 100,001" in refused(tmp_path / "b.zip")


def test_a_zip_that_says_it_is_enormous(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(central(3, 2**32 - 2))
    assert "expected at most 8 GiB when unpacked, its entries say 12.0" in refused(tmp_path / "a.zip")


def test_zips_of_nothing_and_of_zips(tmp_path: Path) -> None:
    assert "found no file" in refused(write_zip(tmp_path / "empty.zip", {}))
    inner = write_zip(tmp_path / "inner.zip", files_of_pictures(RGB, None)).read_bytes()
    assert "inner.zip: expected a picture, found zip data" in refused(write_zip(tmp_path / "outer.zip", {"inner.zip": inner}))
    cut = write_zip(tmp_path / "cut.zip", files_of_pictures(RGB, None))
    cut.write_bytes(cut.read_bytes()[:-300])
    assert "expected a whole zip file, it is cut or damaged" in refused(cut)


def test_gzip_bombs_are_refused_before_they_are_read(tmp_path: Path) -> None:
    header = ",".join(["label", *(f"pixel{number}" for number in range(1, 65))])
    line = b"0," * 64 + b"0\n"
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(header.encode() + b"\n" + line * 600_000, compresslevel=9))
    assert "a.csv.gz: it unpacks to more than 100 times its size" in refused(tmp_path / "a.csv.gz")
    idx = b"\x00\x00\x08\x03" + struct.pack(">3I", 80, 1024, 1024) + bytes(80 * 2**20)
    (tmp_path / "a.idx").write_bytes(gzip.compress(idx))
    assert "a.idx: it unpacks to more than 100 times its size" in refused(tmp_path / "a.idx")


def test_a_table_with_far_too_many_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"label" + b",p" * 300_000 + b"\n")
    assert "expected a first line of label,pixel1,... with at most 262,144 pixels" in refused(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_bytes(b"label" + b",p" * 2_200_000)
    assert "expected a first line of label,pixel1,..." in refused(tmp_path / "b.csv")


def test_what_would_not_fit_in_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((200, 64, 64), np.uint8))
    write_csv(tmp_path / "a.csv", GREY, LABELS)
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 2, "SC_PAGE_SIZE": 1024}.__getitem__)
    for name in ("a.npz", "a.csv"):
        assert "of this machine's 0.0: save the images as an .npy file" in refused(tmp_path / name)


def test_a_table_of_too_many_rows_or_of_endless_labels(tmp_path: Path) -> None:
    image = pa.DictionaryArray.from_arrays(pa.array(np.zeros(10_000_001, np.int8)), pa.array([b"x"]))
    pq.write_table(pa.table({"image": image.cast(pa.binary())}), tmp_path / "a.parquet")
    assert "expected at most 10,000,000 rows in a table, found 10,000,001" in refused(tmp_path / "a.parquet")
    pq.write_table(pa.table({"image": [b"x"] * 300, "label": ["a" * 2**19] * 300}), tmp_path / "b.parquet")
    assert "expected labels that are numbers or short texts, found string" in refused(tmp_path / "b.parquet")
    pq.write_table(pa.table({"image": [b"x"] * 3, "label": [[1], [2], [3]]}), tmp_path / "c.parquet")
    assert "expected" in refused(tmp_path / "c.parquet")
    pq.write_table(pa.table({"image": [b"x"] * 3, "label": ["b", "a", "b"]}), tmp_path / "d.parquet")
    with open_source(tmp_path / "d.parquet") as source:
        assert source.labels is not None
        assert [source.class_names[label] for label in source.labels] == ["b", "a", "b"]


class Armed:
    """Would write a file if it were ever unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.mkdir, ("unpickled",))


@pytest.mark.parametrize("form", ["npy", "npz", "zip"])
def test_pickled_arrays_are_never_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.chdir(tmp_path)
    armed = np.array([Armed()], dtype=object)
    if form == "npz":
        np.savez(tmp_path / "a.npz", images=armed, allow_pickle=True)
    else:
        np.save(tmp_path / "a.npy", armed, allow_pickle=True)
    path = tmp_path / f"a.{form}"
    if form == "zip":
        write_zip(path, {"inside/a.npy": (tmp_path / "a.npy").read_bytes()})
    assert "pickled Python objects, which are never loaded: save it again with numpy.save" in refused(path)
    assert not (tmp_path / "unpickled").exists()


def npy_with(header: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + bytes(64)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 1000, 1000)}\n",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (-3, 8, 8)}\n",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999, 8, 8)}\n",
        "{'descr': '|O', 'fortran_order': False, 'shape': (3, 8, 8)}\n",
        "(" * 4000,
        "__import__('os').mkdir('unpickled')\n",
        "",
        "{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (3, 4, 4)}\n",
    ],
)
@pytest.mark.parametrize("form", ["npy", "npz"])
def test_hostile_headers_of_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, header: str, form: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad"
    path.write_bytes(npy_with(header)) if form == "npy" else write_zip(path, {"images.npy": npy_with(header)})
    sentence = refused(path)
    assert sentence.startswith(("bad", "an array file"))
    assert "expected" in sentence or "promises" in sentence
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"images": GREY, "labels": LABELS[:3]}, "expected a label for each of 6 images, found 3 in a.npz/labels"),
        ({"images": np.zeros((3, 8, 8)) + 16}, "fractions from 0 to 1, found float64 from 16 to 16: scale them"),
        ({"images": np.full((3, 8, 8), np.nan)}, "fractions from 0 to 1, found float64 from nan"),
        ({"images": np.full((3, 8, 8), 256)}, "whole numbers from 0 to 255 .*, found int64 from 256 to 256"),
        ({"images": np.zeros((3, 8, 8), complex)}, "numbers from 0 to 1, found complex128"),
        ({"images": np.zeros((3, 8, 8, 4), np.uint8)}, r"found \(3, 8, 8, 4\)"),
        ({"labels": LABELS}, "expected images .*, found a.npz/labels int64"),
        ({"images": GREY, "labels": LABELS + 0.5}, "whole numbers or text, found float64"),
        ({"images": GREY, "labels": LABELS, "class_names": np.array(["a"])}, "expected labels from 0 to 0"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, arrays: dict[str, np.ndarray], reason: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=reason), open_source(tmp_path / "a.npz"):
        pass


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ({"text": pa.array(["a", "b"])}, r"expected a column of pictures .*, found text \(string\)"),
        ({"image": pa.array([b"x", b"y"]), "label": pa.array([1, None])}, "expected a label in each row, 1 have none"),
        ({"image": pa.array([], pa.binary())}, "found no rows"),
    ],
)
def test_tables_that_do_not_fit(tmp_path: Path, table: dict[str, pa.Array], reason: str) -> None:
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=reason), open_source(tmp_path / "a.parquet"):
        pass


def test_what_is_nothing_of_these(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello, world")
    assert "found text" in refused(tmp_path / "a.txt")
    (tmp_path / "one.png").write_bytes(png(RGB[0]))
    assert "found a single picture" in refused(tmp_path / "one.png")
    assert "nothing there. Expected a folder or a zip file" in refused(tmp_path / "gone")
    (tmp_path / "hollow").mkdir()
    assert "found no file" in refused(tmp_path / "hollow")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(
    form=st.sampled_from(["zip", "npz", "npy", "parquet"]),
    places=st.lists(st.integers(0, 10**6), min_size=1, max_size=4),
    flip=st.integers(1, 255),
    cut=st.integers(0, 400),
)
def test_damage_anywhere_gives_a_sentence_or_images(tmp_path: Path, form: str, places: list[int], flip: int, cut: int) -> None:
    path = tmp_path / "damaged"
    path.unlink(missing_ok=True)
    if form == "zip":
        write_zip(path, files_of_pictures(RGB, LABELS))
    elif form == "parquet":
        write_parquet(path, GREY, LABELS)
    else:
        with path.open("wb") as file:
            np.savez(file, images=GREY, labels=LABELS) if form == "npz" else np.save(file, GREY)
    content = bytearray(path.read_bytes())
    for place in places:
        content[place % len(content)] ^= flip
    path.write_bytes(bytes(content[: len(content) - cut] if cut % 3 == 0 else content))
    try:
        with open_source(path) as source:
            usable(source)
    except DataError as error:
        assert "damaged" in str(error) or "expected" in str(error)
