"""Pictures with their captions as files: sheets as PNG and SVG, animations as GIF and WebP. Arrays in, bytes out."""

from __future__ import annotations

import base64
import functools
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

SheetFormat = Literal["png", "svg"]
AnimationFormat = Literal["gif", "webp"]
Images = UInt8[np.ndarray, "count channels height width"]

TILE = 84
"""About how many pixels the longer side of a picture takes in a sheet; larger pictures keep their own size."""
ANIMATION_SIDE = 280
"""The same in an animation."""
TITLE_SIZE, LABEL_SIZE = 15, 12
_MARGIN, _GAP, _LEAST_WIDTH, _INK = 16, 4, 420, 34


@dataclass(frozen=True, eq=False)
class Sheet:
    """Pictures in rows of ``columns``, with a title and, where they are given, labels of every column and row.

    Of images with more than three channels the first three are shown, of two the first.

    Raises:
        ValueError: no picture, or labels that are not one for each column or row.
    """

    title: str
    pictures: Images
    columns: int
    column_labels: tuple[str, ...] = ()
    row_labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.pictures) == 0 or self.columns < 1:
            raise ValueError(f"a sheet needs a picture and a column, got {len(self.pictures)} and {self.columns}")
        expected = (self.columns, self.rows)
        for labels, count in zip((self.column_labels, self.row_labels), expected, strict=True):
            if labels and len(labels) != count:
                raise ValueError(f"expected {count} labels or none, got {len(labels)}")

    @property
    def rows(self) -> int:
        """How many rows of pictures there are; the last may be shorter."""
        return -(-len(self.pictures) // self.columns)


def printable(text: str) -> str:
    """The text with every character that isn't printable replaced: names come from files and folders."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def viewable(images: Images) -> UInt8[np.ndarray, "count shown height width"]:
    """The channels that can be looked at: one (grey) or three (RGB)."""
    return images[:, : 3 if images.shape[1] >= 3 else 1]


# --- where things stand --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Text:
    """A line of text; ``x`` is its left end, middle or right end, ``y`` its baseline."""

    x: int
    y: int
    content: str
    anchor: Literal["l", "m", "r"]
    size: int


@dataclass(frozen=True)
class _Layout:
    width: int
    height: int
    scale: int
    places: list[tuple[int, int]]
    texts: list[_Text]


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _length(text: str, size: int) -> float:
    return float(_font(size).getlength(text))


def _wrapped(text: str, width: float, size: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and _length(longer, size) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _layout(sheet: Sheet) -> _Layout:
    height, width = sheet.pictures.shape[2:]
    scale = max(1, TILE // max(height, width))
    heads = [printable(label) for label in sheet.column_labels]
    sides = [printable(label) for label in sheet.row_labels]
    title = printable(sheet.title)
    cell = max([width * scale, *(round(_length(head, LABEL_SIZE)) + 2 for head in heads)]) + _GAP
    line = max(height * scale, LABEL_SIZE if sides else 0) + _GAP
    left = _MARGIN + (round(max(_length(side, LABEL_SIZE) for side in sides)) + 2 * _GAP if sides else 0)
    # NOTE: an SVG is drawn with the viewer's own font, which may be wider than the one measured here: hence the tenth.
    words = max(_length(word, TITLE_SIZE) for word in [*title.split(), ""])
    inner = max(left - _MARGIN + sheet.columns * cell - _GAP, _LEAST_WIDTH, round(1.1 * words) + 1)
    lines = _wrapped(title, inner / 1.1, TITLE_SIZE)
    texts = [
        _Text(_MARGIN, _MARGIN + TITLE_SIZE + number * (TITLE_SIZE + 5), text, "l", TITLE_SIZE)
        for number, text in enumerate(lines)
    ]
    top = _MARGIN + len(lines) * (TITLE_SIZE + 5) + 8
    if heads:
        top += LABEL_SIZE
        middles = [left + column * cell + (cell - _GAP) // 2 for column in range(sheet.columns)]
        texts += [_Text(x, top, head, "m", LABEL_SIZE) for x, head in zip(middles, heads, strict=True)]
        top += _GAP + 2
    for row, side in enumerate(sides):
        middle = top + row * line + (line - _GAP) // 2
        texts.append(_Text(left - 2 * _GAP, middle + LABEL_SIZE // 3, side, "r", LABEL_SIZE))
    inset = (cell - _GAP - width * scale) // 2
    places = [
        (left + index % sheet.columns * cell + inset, top + index // sheet.columns * line)
        for index in range(len(sheet.pictures))
    ]
    return _Layout(inner + 2 * _MARGIN, top + sheet.rows * line - _GAP + _MARGIN, scale, places, texts)


# --- sheets --------------------------------------------------------------------------------------------------------


def _picture(image: UInt8[np.ndarray, "channels height width"], scale: int) -> Image.Image:
    array = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    return Image.fromarray(np.ascontiguousarray(array.repeat(scale, axis=0).repeat(scale, axis=1)))


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def draw_png(sheet: Sheet) -> bytes:
    """The sheet as a PNG: every pixel of a picture is a square; captions in the font that Pillow brings along."""
    layout, pictures = _layout(sheet), viewable(sheet.pictures)
    mode, ink = ("L", _INK) if pictures.shape[1] == 1 else ("RGB", (_INK, _INK, _INK))
    canvas = Image.new(mode, (layout.width, layout.height), "white")
    for place, image in zip(layout.places, pictures, strict=True):
        canvas.paste(_picture(image, layout.scale), place)
    draw = ImageDraw.Draw(canvas)
    for text in layout.texts:
        draw.text((text.x, text.y), text.content, fill=ink, font=_font(text.size), anchor=f"{text.anchor}s")
    return _png(canvas)


def draw_svg(sheet: Sheet) -> bytes:
    """The sheet as an SVG of its own: the pictures are PNG data URIs, the captions text that can be selected and edited."""
    layout, pictures = _layout(sheet), viewable(sheet.pictures)
    height, width = (side * layout.scale for side in pictures.shape[2:])
    size = f'width="{layout.width}" height="{layout.height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {layout.width} {layout.height}" role="img" '
        'font-family="Helvetica, Arial, sans-serif">',
        f"<title>{html.escape(printable(sheet.title))}</title>",
        f'<rect {size} fill="#ffffff"/>',
    ]
    for (x, y), image in zip(layout.places, pictures, strict=True):
        data = base64.b64encode(_png(_picture(image, layout.scale))).decode()
        source = f'href="data:image/png;base64,{data}" style="image-rendering: pixelated"'
        parts.append(f'<image x="{x}" y="{y}" width="{width}" height="{height}" {source}/>')
    anchors = {"l": "start", "m": "middle", "r": "end"}
    for text in layout.texts:
        place = f'x="{text.x}" y="{text.y}" font-size="{text.size}" text-anchor="{anchors[text.anchor]}"'
        parts.append(f'<text {place} fill="#222222">{html.escape(text.content)}</text>')
    return "\n".join([*parts, "</svg>", ""]).encode()


def draw_sheet(sheet: Sheet, kind: SheetFormat) -> bytes:
    """The sheet as a file of that format."""
    return draw_png(sheet) if kind == "png" else draw_svg(sheet)


# --- animations ----------------------------------------------------------------------------------------------------


def there_and_back(count: int) -> list[int]:
    """The frames of an endless loop that runs to the last and back; neither end is shown twice."""
    return [*range(count), *range(count - 2, 0, -1)]


def draw_animation(frames: Images, kind: AnimationFormat, duration: int = 80, caption: str = "") -> bytes:
    """The frames there and back, for ever, each ``duration`` milliseconds; every pixel is a square.

    WebP is lossless, and so is a grey GIF; RGB frames of a GIF share one palette of 256 colours. Equal frames that follow
    each other are stored as one of the summed duration. A GIF carries ``caption`` as its comment.

    Raises:
        ValueError: fewer than two frames, or a duration that isn't 20 to 10,000 ms in steps of 10 (a GIF counts in
            hundredths of a second, and browsers slow down what is faster).
    """
    if len(frames) < 2:
        raise ValueError(f"an animation needs at least 2 frames, got {len(frames)}")
    if not 20 <= duration <= 10_000 or duration % 10:
        raise ValueError(f"duration must be from 20 to 10,000 ms in steps of 10, got {duration}")
    frames = viewable(frames)
    scale = max(1, ANIMATION_SIDE // max(frames.shape[2:]))
    pictures = [_picture(frame, 1) for frame in frames]
    if kind == "gif" and frames.shape[1] == 3:
        pictures = _with_one_palette(pictures)
    size = (frames.shape[3] * scale, frames.shape[2] * scale)
    pictures = [picture.resize(size, Image.Resampling.NEAREST) for picture in pictures]
    first, *rest = [pictures[index] for index in there_and_back(len(pictures))]
    buffer = io.BytesIO()
    if kind == "gif":
        comment = printable(caption).encode()
        first.save(buffer, "GIF", save_all=True, append_images=rest, duration=duration, loop=0, comment=comment)
    else:
        first.save(buffer, "WEBP", save_all=True, append_images=rest, duration=duration, loop=0, lossless=True)
    return buffer.getvalue()


def _with_one_palette(pictures: Sequence[Image.Image]) -> list[Image.Image]:
    """Quantised with colours chosen from all of them, so that a still pixel doesn't flicker."""
    width, height = pictures[0].size
    together = Image.new("RGB", (width, height * len(pictures)))
    for index, picture in enumerate(pictures):
        together.paste(picture, (0, index * height))
    palette = together.quantize(256)
    return [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
