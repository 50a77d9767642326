"""Sheets and animations as files: what is in them, read back by other readers."""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image, ImageSequence

from vae.drawing import ANIMATION_SIDE, TILE, Sheet, draw_animation, draw_png, draw_sheet, draw_svg, printable, there_and_back

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "a <b>&amp;\"'</text><script>alert(1)</script>\x00\x1b\ud800\u202e"


def pictures(count: int, channels: int = 1, height: int = 28, width: int = 28) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, channels, height, width)).astype(np.uint8)


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_holds_every_picture_in_square_pixels_in_reading_order(channels: int) -> None:
    images = pictures(7, channels)
    canvas = np.asarray(opened(draw_png(Sheet("seven", images, 3))))
    shape = canvas.shape[:2]
    scale = TILE // 28
    found = []
    for image in images:
        big = image.repeat(scale, axis=1).repeat(scale, axis=2)
        target = big[0] if channels == 1 else big.transpose(1, 2, 0)
        corners = np.argwhere((canvas == target[0, 0]).reshape(*shape, -1).all(axis=2))
        side = 28 * scale
        spots = [(y, x) for y, x in corners if np.array_equal(canvas[y : y + side, x : x + side], target)]
        assert len(spots) == 1
        found += spots
    rows = [y for y, _ in found]
    columns = [x for _, x in found]
    assert rows[0] == rows[1] == rows[2] < rows[3] == rows[4] == rows[5] < rows[6]
    assert columns[0] == columns[3] == columns[6] < columns[1] == columns[4] < columns[2] == columns[5]


def test_captions_are_drawn_and_change_the_png() -> None:
    images = np.full((4, 1, 28, 28), 255, np.uint8)
    plain = np.asarray(opened(draw_png(Sheet("title", images, 2))))
    other = np.asarray(opened(draw_png(Sheet("tittle", images, 2))))
    labelled = np.asarray(opened(draw_png(Sheet("title", images, 2, ("-1.00", "1.00"), ("z[0]", "z[1]")))))
    assert plain.min() < 60, "white pictures on white: what is dark is the title"
    assert not np.array_equal(plain, other)
    dark_rows = np.flatnonzero((labelled < 120).any(axis=1))
    runs = np.split(dark_rows, np.flatnonzero(np.diff(dark_rows) > 3) + 1)
    assert len(runs) == 4, "the title, the heads of the columns, and a label for each row"


def test_an_svg_embeds_the_pictures_and_keeps_captions_as_text() -> None:
    images = pictures(4, 3, 20, 12)
    sheet = Sheet("tiny: traversal of z[2] from -3 to 3", images, 2, ("-3.00", "3.00"), ("z[2]  KL 1.50", "z[0]  KL 0.30"))
    root = ElementTree.fromstring(draw_svg(sheet))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert texts == ["tiny: traversal of z[2] from -3 to 3", "-3.00", "3.00", "z[2]  KL 1.50", "z[0]  KL 0.30"]
    elements = list(root.iter(f"{SVG}image"))
    assert len(elements) == 4
    scale = TILE // 20
    for element, image in zip(elements, images, strict=True):
        head, _, data = element.attrib["href"].partition(",")
        assert head == "data:image/png;base64"
        small = np.asarray(opened(base64.b64decode(data)))[::scale, ::scale]
        assert np.array_equal(small, image.transpose(1, 2, 0))
        assert (element.attrib["width"], element.attrib["height"]) == (str(12 * scale), str(20 * scale))


def test_everything_of_a_sheet_lies_on_it() -> None:
    sheet = Sheet(" ".join(["words"] * 60), pictures(6, 1, 8, 64), 3, ("-12.25", "0.00", "12.25"), ("first", "second row"))
    root = ElementTree.fromstring(draw_svg(sheet))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for element in root.iter(f"{SVG}image"):
        x, y, w, h = (float(element.attrib[name]) for name in ("x", "y", "width", "height"))
        assert 0 <= x <= x + w <= width
        assert 0 <= y <= y + h <= height
    assert opened(draw_png(sheet)).size == (width, height)
    assert len([text for text in root.iter(f"{SVG}text") if "words" in (text.text or "")]) > 1, "a long title is wrapped"


def test_hostile_names_stay_text() -> None:
    content = draw_svg(Sheet(HOSTILE, pictures(1), 1, (HOSTILE,), (HOSTILE,)))
    root = ElementTree.fromstring(content)
    assert {element.tag for element in root.iter()} == {f"{SVG}{tag}" for tag in ("svg", "title", "rect", "image", "text")}
    assert printable(HOSTILE) in "".join(element.text or "" for element in root.iter(f"{SVG}text"))
    assert opened(draw_png(Sheet(HOSTILE, pictures(1), 1))).size[0] > 0
    assert printable("a\x00\u202eb") == "a\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}b"


def test_images_of_other_channel_counts_are_shown() -> None:
    two, five = pictures(2, 2), pictures(2, 5)
    assert draw_png(Sheet("x", two, 2)) == draw_png(Sheet("x", two[:, :1], 2))
    assert draw_svg(Sheet("x", five, 2)) == draw_svg(Sheet("x", five[:, :3], 2))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((np.zeros((0, 1, 8, 8), np.uint8), 1), "a sheet needs a picture and a column, got 0 and 1"),
        ((pictures(1), 0), "got 1 and 0"),
        ((pictures(4), 2, ("a",)), "expected 2 labels or none, got 1"),
        ((pictures(4), 2, (), ("a", "b", "c")), "expected 2 labels or none, got 3"),
    ],
)
def test_sheets_that_cannot_be(arguments: tuple[object, ...], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Sheet("x", *arguments)  # type: ignore[arg-type]


def test_there_and_back_doubles_no_end() -> None:
    assert there_and_back(4) == [0, 1, 2, 3, 2, 1]
    assert there_and_back(2) == [0, 1]


def frames_of(content: bytes) -> tuple[list[np.ndarray], list[int], int]:
    """The frames as RGB, the milliseconds of each, and how often they loop (0: for ever)."""
    image = opened(content)
    arrays, durations = [], []
    for frame in ImageSequence.Iterator(image):
        arrays.append(np.asarray(frame.convert("RGB")))
        durations.append(int(frame.info["duration"]))
    return arrays, durations, int(image.info["loop"])


@pytest.mark.parametrize(("kind", "channels"), [("gif", 1), ("webp", 1), ("webp", 3), ("gif", 3)])
def test_an_animation_goes_there_and_back_for_ever_in_square_pixels(kind: str, channels: int) -> None:
    images = pictures(4, channels, 14, 10)
    if kind == "gif" and channels == 3:
        images = images // 128 * 200  # eight colours: the palette of a GIF holds them all
    found, durations, loop = frames_of(draw_animation(images, kind, 120))  # type: ignore[arg-type]
    scale = ANIMATION_SIDE // 14
    assert (len(found), durations, loop) == (6, [120] * 6, 0)
    for frame, index in zip(found, [0, 1, 2, 3, 2, 1], strict=True):
        expected = images[index].repeat(3 // channels, axis=0).repeat(scale, axis=1).repeat(scale, axis=2).transpose(1, 2, 0)
        assert np.array_equal(frame, expected)


def test_a_colourful_gif_is_near_and_a_still_pixel_does_not_flicker() -> None:
    images = pictures(5, 3, 32, 32)
    images[:, :, 0, 0] = (200, 30, 90)
    found, _, _ = frames_of(draw_animation(images, "gif"))
    assert len({tuple(frame[0, 0]) for frame in found}) == 1
    scale = ANIMATION_SIDE // 32
    error = np.abs(found[2][::scale, ::scale].astype(int) - images[2].transpose(1, 2, 0)).mean()
    assert error < 30, "256 colours for noise that has thousands; a wrong picture is off by 85"


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_equal_frames_keep_their_time(kind: str) -> None:
    still = np.repeat(pictures(1), 4, axis=0)
    still[3] = 0
    _, durations, _ = frames_of(draw_animation(still, kind, 100))  # type: ignore[arg-type]
    assert sum(durations) == 600


def test_a_gif_carries_its_caption() -> None:
    assert opened(draw_animation(pictures(2), "gif", caption="tiny: z[1]")).info["comment"] == b"tiny: z[1]"


@pytest.mark.parametrize("duration", [0, 10, 25, 20_000])
def test_durations_that_a_gif_cannot_hold(duration: int) -> None:
    with pytest.raises(ValueError, match=re.escape("duration must be from 20 to 10,000 ms in steps of 10")):
        draw_animation(pictures(2), "webp", duration)


def test_one_frame_is_no_animation() -> None:
    with pytest.raises(ValueError, match="an animation needs at least 2 frames, got 1"):
        draw_animation(pictures(1), "gif")


def test_the_format_is_that_asked_for() -> None:
    sheet = Sheet("x", pictures(1), 1)
    assert draw_sheet(sheet, "png") == draw_png(sheet)
    assert draw_sheet(sheet, "svg") == draw_svg(sheet)
