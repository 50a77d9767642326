"""Pictures from outside: every format and mode comes out right, every hostile file gets a sentence, and the way to the
model's shape does what its notes say."""

from __future__ import annotations

import dataclasses
import io
import struct
import threading
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import ExifTags, Image, ImageFile

from vae.data import load_dataset
from vae.images import (
    MAX_BYTES,
    MAX_PIXELS,
    WORKING_SIDE,
    Adjustments,
    ImageError,
    Picture,
    Prepared,
    default_adjustments,
    prepare,
    read_picture,
    to_png,
)

NOTHING = Adjustments(invert="no", clear=False, crop=False, pad=False)
STEPS = ("Picture", "Orientation", "Colour", "Invert", "Background", "Crop", "Pad", "Resize")
PATCH = np.random.default_rng(5).integers(0, 256, (6, 9, 3), dtype=np.uint8)
SMOOTH = np.add.outer(np.arange(24) * 3, np.arange(40) * 4)[..., None].astype(np.uint8) + np.array([0, 9, 18], np.uint8)


def encoded(image: Image.Image | np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, kind, **options)
    return buffer.getvalue()


def picture_of(pixels: np.ndarray) -> Picture:
    """A picture as if it had been read; grey is repeated in three channels."""
    colour = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels
    return Picture(colour, "PNG", "RGB", colour.shape[1], colour.shape[0], False, "Made in a test.")


def step(prepared: Prepared, name: str) -> tuple[np.ndarray, str]:
    found = prepared.steps[STEPS.index(name)]
    return found.image, found.note


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_claiming(width: int, height: int, depth: int = 8, colour: int = 0, body: bytes = b"\0", extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + extra + png_chunk(b"IDAT", zlib.compress(body)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


# Formats and modes


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP"])
def test_lossless_formats_come_back_exactly(kind: str) -> None:
    picture = read_picture(encoded(PATCH, kind, **({"lossless": True} if kind == "WEBP" else {})))
    np.testing.assert_array_equal(picture.pixels, PATCH)
    assert (picture.format, picture.width, picture.height, picture.animated) == (kind, 9, 6, False)
    assert picture.note == f"{kind}, 9 x 6 pixels, colour."
    assert not picture.pixels.flags.writeable


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF"])
def test_lossy_formats_come_back_closely(kind: str) -> None:
    picture = read_picture(encoded(SMOOTH, kind, **({} if kind == "GIF" else {"quality": 95})))
    assert picture.pixels.shape == SMOOTH.shape
    assert np.abs(picture.pixels.astype(int) - SMOOTH).mean() < 4
    assert picture.note.startswith(f"{kind}, 40 x 24 pixels,")


def test_black_and_white_and_grey() -> None:
    grey = PATCH[..., 0]
    np.testing.assert_array_equal(read_picture(encoded(grey)).pixels, np.repeat(grey[..., None], 3, 2))
    bits = Image.fromarray(grey).convert("1", dither=Image.Dither.NONE)
    for kind in ("PNG", "BMP"):
        picture = read_picture(encoded(bits, kind))
        np.testing.assert_array_equal(picture.pixels[..., 1], np.where(grey > 127, 255, 0))
        assert "black and white" in picture.note


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    values = np.array([[0, 257, 257 * 128, 65_535, 200, 40_000]], dtype=np.uint16)
    picture = read_picture(encoded(values))
    assert picture.mode == "I;16"
    assert picture.pixels[0, :, 0].tolist() == [0, 1, 128, 255, 1, round(40_000 / 257)]
    assert "16-bit grey" in picture.note


def test_sixteen_bit_grey_with_a_transparent_level() -> None:
    picture = read_picture(encoded(np.array([[0, 65_535, 40_000]], dtype=np.uint16), transparency=0))
    assert picture.pixels[0, :, 0].tolist() == [0, 255, 156]  # mostly light, so on black
    assert "laid on black" in picture.note


def test_sixteen_bit_colour() -> None:
    body = b"\0" + struct.pack(">6H", 65_535, 0, 257 * 100, 257 * 7, 257 * 8, 257 * 9)
    assert read_picture(png_claiming(2, 1, 16, 2, body)).pixels.tolist() == [[[255, 0, 100], [7, 8, 9]]]


def test_palettes_with_and_without_transparency() -> None:
    image = Image.frombytes("P", (3, 1), bytes([0, 1, 2]))
    image.putpalette([10, 20, 30, 200, 0, 0, 0, 99, 0])
    for kind in ("PNG", "GIF", "BMP"):
        assert read_picture(encoded(image, kind)).pixels[0].tolist() == [[10, 20, 30], [200, 0, 0], [0, 99, 0]]
    for transparency in (1, bytes([255, 0, 255])):
        picture = read_picture(encoded(image, "PNG", transparency=transparency))
        assert picture.pixels[0].tolist() == [[10, 20, 30], [255, 255, 255], [0, 99, 0]]
    half = read_picture(encoded(image, "PNG", transparency=bytes([255, 51, 255])))
    assert half.pixels[0, 1].tolist() == [244, 204, 204]  # a fifth of the red, the rest white
    assert "palette" in half.note
    assert "laid on white" in half.note


def test_transparent_pixels_hide_their_colour() -> None:
    pixels = np.array([[[0, 0, 200, 255], [255, 0, 0, 0], [0, 0, 200, 128]]], dtype=np.uint8)
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True})):
        picture = read_picture(encoded(pixels, kind, **options))
        assert picture.pixels[0].tolist() == [[0, 0, 200], [255, 255, 255], [127, 127, 227]]
        assert picture.note.endswith("Transparent parts laid on white.")
    light = np.array([[[250, 80], [0, 0]]], dtype=np.uint8)
    picture = read_picture(encoded(Image.frombytes("LA", (2, 1), light.tobytes())))
    assert picture.pixels[0, :, 0].tolist() == [78, 0]
    assert picture.note.endswith("Transparent parts laid on black.")


def test_a_wholly_opaque_and_a_wholly_transparent_picture() -> None:
    opaque = np.dstack([PATCH, np.full(PATCH.shape[:2], 255, np.uint8)])
    picture = read_picture(encoded(opaque))
    np.testing.assert_array_equal(picture.pixels, PATCH)
    assert "laid on" not in picture.note
    opaque[..., 3] = 0
    assert (read_picture(encoded(opaque)).pixels == 255).all()


def test_hidden_colour_does_not_leak_when_a_large_picture_is_reduced() -> None:
    pixels = np.zeros((2, 6 * WORKING_SIDE, 4), dtype=np.uint8)
    pixels[:, ::2] = (0, 0, 255, 255)
    pixels[:, 1::2] = (255, 0, 0, 0)
    reduced = read_picture(encoded(pixels)).pixels.astype(int)
    assert reduced.shape == (1, WORKING_SIDE, 3)  # a side is never reduced to nothing
    assert np.abs(reduced - (127, 127, 255)).max() <= 3


@pytest.mark.parametrize(
    ("inks", "colour"),
    [
        ((0, 0, 0, 0), (255, 255, 255)),
        ((0, 255, 255, 0), (255, 0, 0)),
        ((255, 0, 0, 0), (0, 255, 255)),
        ((0, 0, 0, 255), (0, 0, 0)),
    ],
)
def test_cmyk_jpeg_with_adobes_inverted_inks(inks: tuple[int, ...], colour: tuple[int, ...]) -> None:
    data = encoded(Image.new("CMYK", (16, 16), inks), "JPEG", quality=95)
    assert b"Adobe" in data  # the marker that says the inks are stored inverted
    picture = read_picture(data)
    assert np.abs(picture.pixels.astype(int) - colour).max() <= 4
    assert "CMYK" in picture.note


UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_exif_orientation(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    options = {"PNG": {}, "WEBP": {"lossless": True}, "JPEG": {"quality": 98, "subsampling": 0}}[kind]
    picture = read_picture(encoded(SMOOTH, kind, exif=exif, **options))
    expected = UPRIGHT[orientation](SMOOTH)
    assert picture.pixels.shape == expected.shape
    assert np.abs(picture.pixels.astype(int) - expected).mean() < (2 if kind == "JPEG" else 1e-9)
    assert ("upright" in picture.note) == (orientation != 1)
    assert (picture.width, picture.height) == (40, 24)  # as stored


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0II*\0\x08\0\0\0\x40\0\x12\x01", b"Exif\0\0junk", b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff"]
)
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_damaged_exif_is_no_reason_to_refuse_a_picture(exif: bytes, kind: str) -> None:
    assert read_picture(encoded(SMOOTH, kind, exif=exif)).pixels.shape == SMOOTH.shape


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_first_frame_of_an_animation(kind: str) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ((200, 0, 0), (0, 200, 0), (0, 0, 200))]
    options = {"lossless": True} if kind == "WEBP" else {}
    picture = read_picture(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options))
    assert (picture.pixels == (200, 0, 0)).all()
    assert picture.animated
    assert "The first frame of an animation." in picture.note


def test_an_animation_cut_behind_its_first_frame() -> None:
    frames = [Image.fromarray(np.full((30, 30), level, np.uint8)) for level in (10, 90)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (read_picture(data[:-20]).pixels == 10).all()


def test_a_jpeg_of_several_pictures_is_its_first() -> None:
    both = encoded(SMOOTH, "MPO", save_all=True, append_images=[Image.fromarray(SMOOTH[::-1].copy())])
    picture = read_picture(both)
    assert (picture.format, picture.animated) == ("JPEG", False)
    assert np.abs(picture.pixels.astype(int) - SMOOTH).mean() < 4


# Limits


@pytest.mark.parametrize(
    ("size", "result"),
    [
        ((1, 1), (1, 1)),
        ((20_000, 1), (1024, 1)),
        ((1, 20_000), (1, 1024)),
        ((2050, 1025), (1024, 512)),
        ((1025, 40), (1024, 40)),
    ],
)
def test_absurd_and_large_sizes_are_read(size: tuple[int, int], result: tuple[int, int]) -> None:
    picture = read_picture(encoded(Image.new("RGB", size, (9, 99, 199))))
    assert picture.pixels.shape == (result[1], result[0], 3)
    assert (picture.pixels == (9, 99, 199)).all()
    assert (picture.width, picture.height) == size
    for shape in ((1, 28, 28), (3, 32, 32), (1, 16, 24)):
        assert prepare(picture, shape).pixels.shape == shape


def test_a_large_jpeg_keeps_its_proportions_and_content() -> None:
    coarse = Image.fromarray(SMOOTH).resize((2400, 1440), Image.Resampling.NEAREST)
    picture = read_picture(encoded(coarse, "JPEG", quality=90))
    assert picture.pixels.shape == (614, 1024, 3)
    assert picture.note == "JPEG, 2,400 x 1,440 pixels, colour. Reduced to 1,024 x 614 to work on."
    small = np.asarray(Image.fromarray(picture.pixels).resize((40, 24), Image.Resampling.BOX)).astype(int)
    assert np.abs(small - SMOOTH).mean() < 4


def test_bands_of_a_large_picture_fit_together() -> None:
    ramp = np.repeat(np.arange(3000)[:, None] * 255 // 2999, 1500, axis=1).astype(np.uint8)
    rows = read_picture(encoded(ramp, compress_level=1)).pixels[:, 300, 0].astype(int)
    assert len(rows) == WORKING_SIDE
    assert set(np.diff(rows)) == {0, 1}
    assert (rows[0], rows[-1]) == (0, 255)


def test_bands_of_a_large_picture_end_between_its_blocks() -> None:
    pairs = np.repeat(np.arange(WORKING_SIDE) % 2 * 255, 2).astype(np.uint8)[:, None].repeat(1500, axis=1)
    rows = read_picture(encoded(pairs, compress_level=1)).pixels[:, 300, 0]
    np.testing.assert_array_equal(rows, pairs[::2, 0])


def test_a_large_jpeg_is_decoded_no_larger_than_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    load, sizes = ImageFile.ImageFile.load, []
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: (sizes.append(image.size), load(image))[1])
    read_picture(encoded(Image.new("RGB", (2400, 1440)), "JPEG"))
    assert sizes[0] == (1200, 720)


def jpeg_claiming(width: int, height: int) -> bytes:
    data = bytearray(encoded(SMOOTH, "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def bmp_claiming(width: int, height: int) -> bytes:
    data = bytearray(encoded(SMOOTH, "BMP"))
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


def gif_claiming(width: int, height: int, in_frame: bool) -> bytes:
    data = bytearray(encoded(Image.new("L", (8, 8)), "GIF"))
    frame = data.index(b"\x2c\0\0\0\0") + 5 if in_frame else 6
    data[frame : frame + 4] = struct.pack("<HH", width, height)
    return bytes(data)


BOMBS = {
    "png, a little over": png_claiming(7_072, 7_072),
    "png, where pillow warns": png_claiming(10_000, 10_000),
    "png, where pillow raises": png_claiming(20_000, 20_000),
    "png, far too large": png_claiming(2**31 - 1, 2**31 - 1),
    "png, too long": png_claiming(70_000, 2),
    "png, too tall": png_claiming(1, 50_000_000),
    "jpeg": jpeg_claiming(65_000, 65_000),
    "jpeg, where pillow warns": jpeg_claiming(10_000, 10_000),
    "bmp": bmp_claiming(9_000, 9_000),
    "bmp, upside down": bmp_claiming(9_000, -9_000),
    "gif": gif_claiming(60_000, 2_000, in_frame=False),
    "gif, in its frame": gif_claiming(60_000, 60_000, in_frame=True),
}


@pytest.mark.parametrize("name", BOMBS)
def test_too_many_pixels_are_refused_before_decoding(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("decoded"))
    monkeypatch.setattr(Image.core, "new", lambda *_: pytest.fail("allocated"))
    with pytest.raises(ImageError, match="at most 50 megapixels and 65,535 pixels a side are read: make it smaller"):
        read_picture(BOMBS[name])


def test_the_size_found_is_named() -> None:
    with pytest.raises(ImageError, match="The PNG picture is 7,072 x 7,072 pixels; at most 50 megapixels"):
        read_picture(png_claiming(7_072, 7_072))
    assert 7_071 * 7_071 <= MAX_PIXELS < 7_072 * 7_072


def test_too_many_bytes_are_refused_before_opening(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("opened"))
    data = encoded(PATCH)
    with pytest.raises(ImageError, match=r"The file has 20,971,521 bytes; at most 20 MB .* are read: make the picture smaller"):
        read_picture(data + bytes(MAX_BYTES + 1 - len(data)))


def test_exactly_the_most_bytes_are_read() -> None:
    data = encoded(PATCH)
    np.testing.assert_array_equal(read_picture(data + bytes(MAX_BYTES - len(data))).pixels, PATCH)


# Anything else


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "an empty file"),
        (b"not a png", "text"),
        (b"\x00\x01\x02\x03\x04", "bytes that begin with 00 01 02 03"),
        (b"%PDF-1.7 ...", "a PDF document"),
        (b"II*\0\x08\0\0\0", "a TIFF picture"),
        (b"<svg xmlns=''/>", "an SVG drawing"),
        (b"PK\3\4word", "a ZIP archive or an office document"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC or AVIF photo or a video"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "bytes that begin with 52 49 46 46"),
    ],
)
def test_what_is_no_picture_is_named(data: bytes, found: str) -> None:
    with pytest.raises(ImageError) as caught:
        read_picture(data)
    expected = "Expected a PNG, JPEG, WebP, BMP or GIF picture"
    assert str(caught.value) == f"{expected}, found {found}: save the picture as PNG or JPEG and upload that."


def test_other_formats_that_pillow_knows_are_not_tried() -> None:
    for kind in ("TIFF", "PPM", "TGA", "ICO", "PCX", "EPS", "JPEG2000"):
        with pytest.raises(ImageError, match="Expected a PNG, JPEG, WebP, BMP or GIF picture"):
            read_picture(encoded(PATCH, kind))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
def test_only_the_announced_format_is_tried(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[list[str]] = []
    opened = Image.open

    def spy(file: io.BytesIO, formats: list[str]) -> ImageFile.ImageFile:
        tried.append(formats)
        return opened(file, formats=formats)

    monkeypatch.setattr(Image, "open", spy)
    read_picture(encoded(SMOOTH, kind))
    assert tried == [[kind]]


DAMAGED = {
    "PNG": encoded(PATCH)[:60],
    "JPEG": encoded(SMOOTH, "JPEG")[:-40],
    "GIF": encoded(SMOOTH, "GIF")[:200],
    "BMP": encoded(SMOOTH, "BMP")[:-1],
    "WEBP": encoded(SMOOTH, "WEBP")[:40],
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_cut_files_are_called_cut(kind: str) -> None:
    with pytest.raises(ImageError) as caught:
        read_picture(DAMAGED[kind])
    assert str(caught.value) == (
        f"The {kind} file is cut or damaged and cannot be decoded: expected a whole picture. Open it in an image program, "
        "save it again as PNG or JPEG, and upload that."
    )
    assert caught.value.__cause__ is not None  # for whoever debugs


def test_a_text_that_unpacks_to_far_more_is_refused() -> None:
    text = png_chunk(b"zTXt", b"comment\0\0" + zlib.compress(bytes(2**26)))
    with pytest.raises(ImageError, match="damaged"):
        read_picture(png_claiming(1, 1, body=b"\0\0", extra=text))


def test_pillow_never_warns_the_reader() -> None:
    broken_animation = png_chunk(b"acTL", bytes(8))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        assert read_picture(png_claiming(1, 1, body=b"\0\x07", extra=broken_animation)).pixels.tolist() == [[[7, 7, 7]]]
    assert not heard


def test_visitors_at_the_same_time_leave_the_warnings_as_they_were() -> None:
    before, data, results = list(warnings.filters), encoded(SMOOTH), []
    threads = [threading.Thread(target=lambda: results.append(read_picture(data).pixels)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert all((pixels == SMOOTH).all() for pixels in results)
    assert list(warnings.filters) == before


SMALL = np.asarray(Image.fromarray(SMOOTH).resize((14, 10)))
VALID = {
    "png": encoded(SMALL),
    "png palette": encoded(Image.fromarray(SMALL).quantize(9), transparency=bytes([0, 128])),
    "png 16": encoded(SMALL[..., 0].astype(np.uint16) * 257),
    "png exif": encoded(SMALL, exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"),
    "apng": encoded(SMALL, save_all=True, append_images=[Image.fromarray(SMALL[::-1].copy())]),
    "jpeg": encoded(SMALL, "JPEG"),
    "jpeg progressive": encoded(SMALL, "JPEG", progressive=True),
    "jpeg cmyk": encoded(Image.fromarray(SMALL).convert("CMYK"), "JPEG"),
    "mpo": encoded(SMALL, "MPO", save_all=True, append_images=[Image.fromarray(SMALL[::-1].copy())]),
    "gif": encoded(
        Image.fromarray(SMALL[..., 0]), "GIF", save_all=True, append_images=[Image.fromarray(SMALL[::-1, :, 0].copy())]
    ),
    "bmp": encoded(SMALL, "BMP"),
    "bmp palette": encoded(Image.fromarray(SMALL).quantize(9), "BMP"),
    "webp": encoded(SMALL, "WEBP"),
    "webp lossless": encoded(SMALL, "WEBP", lossless=True),
}


def assert_read_or_refused(data: bytes) -> None:
    try:
        picture = read_picture(data)
    except ImageError:
        return
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.ndim == 3
    prepared = prepare(picture, (1, 8, 12))
    assert (prepared.pixels.dtype, prepared.pixels.shape) == (np.uint8, (1, 8, 12))


@pytest.mark.parametrize("name", VALID)
def test_every_valid_file_is_read(name: str) -> None:
    assert read_picture(VALID[name]).pixels.shape in ((10, 14, 3), (14, 10, 3))


@pytest.mark.parametrize("name", VALID)
def test_a_file_cut_anywhere_is_read_or_refused(name: str) -> None:
    data = VALID[name]
    for end in range(0, len(data), max(1, len(data) // 60)):
        assert_read_or_refused(data[:end])


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_file_damaged_anywhere_is_read_or_refused(draw: st.DataObject) -> None:
    data = bytearray(VALID[draw.draw(st.sampled_from(sorted(VALID)))])
    for _ in range(draw.draw(st.integers(1, 6))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    assert_read_or_refused(bytes(data[: draw.draw(st.integers(len(data) // 2, len(data)))]))


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"BM", b"RIFF\x40\0\0\0WEBPVP8 "]),
    st.binary(max_size=80),
)
def test_any_bytes_are_read_or_refused(start: bytes, rest: bytes) -> None:
    assert_read_or_refused(start + rest)


# From a picture to a model's input


@settings(max_examples=150, deadline=None)
@given(
    pixels=st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(lambda size: arrays(np.uint8, (*size, 3))),
    shape=st.tuples(st.sampled_from([1, 3]), st.integers(1, 40), st.integers(1, 40)),
    adjustments=st.builds(
        Adjustments,
        turns=st.integers(0, 3),
        flip=st.booleans(),
        invert=st.sampled_from(["auto", "yes", "no"]),
        clear=st.booleans(),
        crop=st.booleans(),
        margin=st.floats(0, 0.5),
        pad=st.booleans(),
    ),
)
def test_any_picture_fits_any_model(pixels: np.ndarray, shape: tuple[int, int, int], adjustments: Adjustments) -> None:
    before = pixels.copy()
    prepared = prepare(picture_of(pixels), shape, adjustments)
    assert (prepared.pixels.dtype, prepared.pixels.shape) == (np.uint8, shape)
    assert tuple(each.name for each in prepared.steps) == STEPS
    assert all(each.note.endswith(".") and each.image.dtype == np.uint8 for each in prepared.steps)
    last = prepared.steps[-1].image
    np.testing.assert_array_equal(prepared.pixels, last[None] if shape[0] == 1 else last.transpose(2, 0, 1))
    np.testing.assert_array_equal(pixels, before)
    assert prepared.pixels.flags.writeable  # torch wants its own
    assert not any(each.image.flags.writeable for each in prepared.steps[1:])  # the first is the caller's own


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 16, 24)])
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_an_image_of_the_models_own_is_untouched_without_adjustments(shape: tuple[int, int, int], data: st.DataObject) -> None:
    image = data.draw(arrays(np.uint8, shape))
    stored = image[0] if shape[0] == 1 else image.transpose(1, 2, 0)
    prepared = prepare(read_picture(encoded(stored)), shape, NOTHING)
    np.testing.assert_array_equal(prepared.pixels, image)
    assert all(each.note.startswith("Left as it is") for each in prepared.steps[1:])


def test_the_data_sets_own_images_are_untouched_by_default() -> None:
    images = load_dataset("fashion-mnist", "test").images[:4000]
    filling = [image for image in images if all((image[0] > 10).any(axis=axis)[[0, -1]].all() for axis in (0, 1))]
    filling = [image for image in filling if np.median(np.r_[image[0, 0], image[0, -1], image[0, :, 0], image[0, :, -1]]) == 0]
    assert len(filling) >= 20
    for image in filling:
        np.testing.assert_array_equal(prepare(picture_of(image[0]), (1, 28, 28)).pixels, image)


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("flip", [False, True])
def test_turning_and_mirroring(turns: int, flip: bool) -> None:
    chosen = dataclasses.replace(NOTHING, turns=turns, flip=flip)
    image, note = step(prepare(picture_of(PATCH), (3, 6, 9), chosen), "Orientation")
    expected = PATCH
    for _ in range(turns):
        expected = expected[::-1].transpose(1, 0, 2)  # clockwise: the left column, read upward, becomes the top row
    np.testing.assert_array_equal(image, expected[:, ::-1] if flip else expected)
    assert (f"by {90 * turns} degrees" in note) == bool(turns)
    assert ("irrored left and right" in note) == flip


def test_grey_is_as_bright_as_the_colour_looks() -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], dtype=np.uint8)
    image, note = step(prepare(picture_of(colours), (1, 1, 4), NOTHING), "Colour")
    assert image.tolist() == [[76, 150, 29, 255]]
    assert note.startswith("Made grey")
    image, note = step(prepare(picture_of(colours), (3, 1, 4), NOTHING), "Colour")
    np.testing.assert_array_equal(image, colours)
    assert note == "Left as it is: the model reads colour."
    grey = np.arange(4, dtype=np.uint8)[None]
    assert "though the picture has none" in step(prepare(picture_of(grey), (3, 1, 4), NOTHING), "Colour")[1]
    assert step(prepare(picture_of(grey), (1, 1, 4), NOTHING), "Colour")[1] == "Left as it is: the picture is grey."


def framed(border: int, centre: int) -> np.ndarray:
    image = np.full((20, 20), border, dtype=np.uint8)
    image[5:15, 5:15] = centre
    return image


@pytest.mark.parametrize(
    ("border", "invert", "inverted", "note"),
    [
        (243, "auto", True, "Inverted: the border is bright (level 243 of 255)."),
        (128, "auto", True, "Inverted: the border is bright (level 128 of 255)."),
        (127, "auto", False, "Left as it is: the border is dark (level 127 of 255)."),
        (0, "auto", False, "Left as it is: the border is dark (level 0 of 255)."),
        (0, "yes", True, "Inverted: as asked."),
        (243, "no", False, "Left as it is: no inversion was asked for."),
    ],
)
def test_inversion_follows_the_border(border: int, invert: Any, inverted: bool, note: str) -> None:
    original = framed(border, 60)
    image, said = step(prepare(picture_of(original), (1, 20, 20), dataclasses.replace(NOTHING, invert=invert)), "Invert")
    np.testing.assert_array_equal(image, 255 - original if inverted else original)
    assert said == note


def test_an_object_that_touches_the_border_does_not_decide_on_inversion() -> None:
    image = np.zeros((28, 28), dtype=np.uint8)
    image[:, 8:20] = 255  # 24 of 108 border pixels
    assert step(prepare(picture_of(image), (1, 28, 28)), "Invert")[1].startswith("Left as it is: the border is dark")


@pytest.mark.parametrize("channels", [1, 3])
@given(top=st.integers(2, 100), left=st.integers(2, 100), height=st.integers(2, 90), width=st.integers(2, 90))
@settings(max_examples=25, deadline=None)
def test_crop_finds_the_object(channels: int, top: int, left: int, height: int, width: int) -> None:
    image = np.full((200, 200, 3), (30, 40, 50), dtype=np.uint8)
    image[top : top + height, left : left + width] = (200, 90, 50)
    chosen = dataclasses.replace(NOTHING, crop=True)
    cropped, note = step(prepare(picture_of(image), (channels, 8, 8), chosen), "Crop")
    assert cropped.shape[:2] == (height, width)
    assert np.ptp(cropped.reshape(height * width, -1), axis=0).max() == 0
    assert note == f"Cut to the content: {width} x {height} pixels, from {left} across and {top} down."


def noisy_photo(pixels: np.ndarray, paper: int, spread: float, seed: int = 3) -> np.ndarray:
    """Light-on-black ``pixels`` as dark on paper of this brightness, with a camera's noise."""
    noise = np.random.default_rng(seed).normal(0, spread, pixels.shape)
    return (paper - pixels * (paper / 255) + noise).clip(0, 255).round().astype(np.uint8)


def test_noise_neither_widens_the_crop_nor_stays_in_the_background() -> None:
    drawn = np.zeros((300, 400))
    drawn[70:180, 90:290] = 160
    prepared = prepare(picture_of(noisy_photo(drawn, 235, 5)), (1, 28, 28))
    cropped, note = step(prepared, "Crop")
    assert note == "Cut to the content: 200 x 110 pixels, from 90 across and 70 down."
    assert abs(float(np.median(cropped)) - 160) < 4
    cleared, note = step(prepared, "Background")
    outside = np.r_[cleared[:60].ravel(), cleared[190:].ravel()]
    assert (outside > 0).mean() < 1e-3
    assert note == "Made black: what is as dark as the border (level 20 of 255, give or take its spread)."
    assert (prepared.pixels[0, :6] == 0).all()  # padded with black


def test_a_thin_stroke_in_a_large_picture_is_content() -> None:
    drawn = np.zeros((900, 900))
    drawn[200:700, 450:453] = 200
    cropped, _ = step(prepare(picture_of(noisy_photo(drawn, 240, 3)), (1, 28, 28)), "Crop")
    assert cropped.shape == (500, 3)


def test_specks_do_not_count() -> None:
    image = np.zeros((300, 300), dtype=np.uint8)
    image[100:150, 120:180] = 200
    image[[5, 290, 40], [9, 280, 260]] = 255
    assert step(prepare(picture_of(image), (1, 28, 28)), "Crop")[0].shape == (50, 60)


def test_a_margin_is_kept_around_the_content() -> None:
    image = np.zeros((100, 100), dtype=np.uint8)
    image[30:50, 40:80] = 200
    cropped, _ = step(prepare(picture_of(image), (1, 28, 28), Adjustments(margin=0.25)), "Crop")
    assert cropped.shape == (40, 60)
    np.testing.assert_array_equal(cropped[10:30, 10:50], 200)
    image[:20, 40:80] = 200  # now at the picture's edge, where there is no more to keep
    assert step(prepare(picture_of(image), (1, 28, 28), Adjustments(margin=0.25)), "Crop")[0].shape == (62, 64)


@pytest.mark.parametrize("level", [0, 100, 255])
@pytest.mark.parametrize("channels", [1, 3])
def test_blank_pictures_are_not_cropped(level: int, channels: int) -> None:
    blank = np.full((50, 30), level, dtype=np.uint8)
    prepared = prepare(picture_of(blank), (channels, 28, 28), Adjustments())
    image, note = step(prepared, "Crop")
    assert image.shape[:2] == (50, 30)
    assert note == "Left as it is: nothing differs from the border."
    assert (prepared.pixels == 0).all()


def test_a_background_that_is_not_near_black_is_left() -> None:
    image, note = step(prepare(picture_of(framed(125, 250)), (1, 20, 20)), "Background")
    np.testing.assert_array_equal(image, framed(125, 250))
    assert note == "Left as it is: the border is too bright or uneven (level 125 of 255) to be black."
    black = step(prepare(picture_of(framed(0, 5)), (1, 20, 20)), "Background")
    assert black[0].max() == 5  # faint, but the border is truly black: nothing to clear
    assert black[1] == "Left as it is: the border is black already."


def test_clearing_keeps_white_white() -> None:
    image, _ = step(prepare(picture_of(framed(30, 255)), (1, 20, 20)), "Background")
    np.testing.assert_array_equal(image, framed(0, 255))
    image, _ = step(prepare(picture_of(framed(30, 125)), (1, 20, 20)), "Background")
    np.testing.assert_array_equal(image, framed(0, round(95 * 255 / 225)))


@pytest.mark.parametrize(
    ("size", "shape", "canvas"),
    [
        ((10, 20), (1, 28, 28), (20, 20)),
        ((21, 10), (3, 28, 28), (21, 21)),
        ((10, 10), (1, 16, 24), (10, 15)),
        ((10, 30), (1, 16, 24), (20, 30)),
        ((16, 24), (1, 16, 24), (16, 24)),
        ((1, 1), (1, 28, 28), (1, 1)),
    ],
)
def test_padding_reaches_the_models_proportions(
    size: tuple[int, int], shape: tuple[int, int, int], canvas: tuple[int, int]
) -> None:
    image = np.full((*size, 3), (10, 20, 30), dtype=np.uint8)
    padded, note = step(prepare(picture_of(image), shape, dataclasses.replace(NOTHING, pad=True)), "Pad")
    assert padded.shape[:2] == canvas
    assert np.ptp(padded.reshape(-1, shape[0]), axis=0).max() == 0  # the background's own level
    assert note.startswith("Left as it is" if size == canvas else "Padded with the background's level")


def test_padding_keeps_the_object_in_the_middle() -> None:
    image = np.zeros((10, 30), dtype=np.uint8)
    image[:, 10:20] = 200
    padded, note = step(prepare(picture_of(image), (1, 28, 28), dataclasses.replace(NOTHING, pad=True)), "Pad")
    expected = np.zeros((30, 30), dtype=np.uint8)
    expected[10:20, 10:20] = 200
    np.testing.assert_array_equal(padded, expected)
    assert note == "Padded with the background's level (0) to 30 x 30 pixels."


@pytest.mark.parametrize("shape", [(1, 8, 1024), (3, 1024, 8), (1, 1, 1024)])
def test_models_of_extreme_proportions_do_not_ask_for_huge_canvases(shape: tuple[int, int, int]) -> None:
    prepared = prepare(picture_of(np.full((1024, 1024), 77, np.uint8)), shape, dataclasses.replace(NOTHING, pad=True))
    assert max(step(prepared, "Pad")[0].shape) <= 4 * WORKING_SIDE
    assert (prepared.pixels == 77).all()


def test_resizing_averages_and_rings_neither_below_nor_above() -> None:
    stripes = np.where(np.arange(280) % 2, 200, 100).astype(np.uint8)[None].repeat(280, 0)
    inner = prepare(picture_of(stripes), (1, 28, 28), NOTHING).pixels[0, 2:-2, 2:-2]
    assert np.abs(inner.astype(int) - 150).max() <= 2  # without antialiasing: 100 or 200
    edge = np.where(np.arange(300) < 150, 60, 190).astype(np.uint8)[None].repeat(300, 0)
    resized = prepare(picture_of(edge), (1, 28, 28), NOTHING).pixels
    assert (resized.min(), resized.max()) == (60, 190)


def test_stretching_without_padding() -> None:
    prepared = prepare(picture_of(framed(0, 200)[:10]), (1, 20, 20), NOTHING)
    assert step(prepared, "Pad")[1] == "Left as it is: no padding was asked for; resizing may stretch it."
    assert step(prepared, "Resize")[1] == "Resized from 20 x 10 to 20 x 20 pixels, with antialiasing."


def test_a_garment_photographed_dark_on_white_comes_back() -> None:
    images = load_dataset("fashion-mnist", "test").images[:60, 0]
    errors, baseline = [], []
    for number, image in enumerate(images):
        large = np.zeros((420, 380))
        large[50:330, 40:320] = np.asarray(Image.fromarray(image).resize((280, 280), Image.Resampling.BICUBIC))
        data = encoded(noisy_photo(large, 240, 3, seed=number), "JPEG", quality=90)
        prepared = prepare(read_picture(data), (1, 28, 28))
        errors.append(np.abs(prepared.pixels[0].astype(int) - image).mean())
        baseline.append(np.abs(prepare(read_picture(data), (1, 28, 28), NOTHING).pixels[0].astype(int) - image).mean())
    assert np.median(errors) < 11
    assert np.mean(errors) < 12 < 150 < np.mean(baseline)


def test_defaults_follow_the_kind_of_model() -> None:
    assert default_adjustments(1) == Adjustments(0, False, "auto", True, True, 0.0, True)
    assert default_adjustments(3) == Adjustments(0, False, "no", False, False, 0.0, True)
    photo = picture_of(np.full((10, 20, 3), 250, dtype=np.uint8))
    assert (prepare(photo, (3, 8, 8)).pixels == 250).all()
    assert (prepare(photo, (1, 8, 8)).pixels == 0).all()


@pytest.mark.parametrize("shape", [(2, 28, 28), (0, 28, 28), (4, 28, 28)])
def test_models_of_other_channels_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ImageError, match=r"grey \(1 channel\) or RGB images \(3 channels\), got the shape \(" + str(shape[0])):
        prepare(picture_of(PATCH), shape)


@pytest.mark.parametrize("shape", [(1, 0, 28), (1, 28, 1025), (3, -1, 8)])
def test_models_of_impossible_sides_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ImageError, match="height and width from 1 to 1,024, got the shape"):
        prepare(picture_of(PATCH), shape)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("turns", 4, "turns must be a whole number of quarter turns from 0 to 3, got 4"),
        ("turns", True, "turns must be a whole number"),
        ("turns", 1.0, "turns must be a whole number"),
        ("flip", 1, "flip must be True or False, got 1"),
        ("clear", "yes", "clear must be True or False, got 'yes'"),
        ("crop", None, "crop must be True or False, got None"),
        ("pad", 0, "pad must be True or False, got 0"),
        ("invert", "maybe", "invert must be one of auto, yes, no, got 'maybe'"),
        ("margin", 0.6, "margin must be a number from 0 to 0.5, got 0.6"),
        ("margin", float("nan"), "margin must be a number from 0 to 0.5, got nan"),
        ("margin", True, "margin must be a number"),
    ],
)
def test_adjustments_are_checked_on_creation(field: str, value: object, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        Adjustments(**{field: value})  # type: ignore[arg-type]


# Pictures for people to keep


@given(
    image=st.one_of(
        arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))),
        arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))),
        arrays(np.uint8, st.tuples(st.sampled_from([1, 3]), st.integers(1, 9), st.integers(4, 9))),
    ),
    scale=st.integers(1, 4),
)
@settings(max_examples=60, deadline=None)
def test_png_keeps_every_pixel(image: np.ndarray, scale: int) -> None:
    decoded = np.asarray(Image.open(io.BytesIO(to_png(image, scale))))
    expected = image
    if image.ndim == 3 and image.shape[2] != 3:
        expected = image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)
    np.testing.assert_array_equal(decoded, np.kron(expected, np.ones((scale, scale, 1)[: expected.ndim], np.uint8)))


@pytest.mark.parametrize(
    "image", [np.zeros((2, 2)), np.zeros((2, 4, 4), np.uint8), np.zeros((0, 4), np.uint8), np.zeros(4, np.uint8)]
)
def test_png_of_something_else_is_refused(image: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r"A PNG is made of uint8 \(h, w\), .* got (float64|uint8) \("):
        to_png(image)


@pytest.mark.parametrize("scale", [0, -1, 1000, True])
def test_png_scale_is_checked(scale: int) -> None:
    with pytest.raises(ImageError, match=r"scale must be a whole number from 1 to 707 for 10 x 10, got"):
        to_png(np.zeros((10, 10), np.uint8), scale)
