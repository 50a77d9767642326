"""Any uploaded picture -> a safe, model-shaped array, step by step.

``read_picture`` takes bytes from outside, which may be anything, and gives upright 8-bit RGB or an `ImageError` with
a sentence for the person. ``prepare`` turns that into what a model reads and keeps every step, with a note on it.
"""

from __future__ import annotations

import math
import threading
import warnings
from dataclasses import dataclass
from io import BytesIO
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float64, UInt8
from PIL import Image

Invert = Literal["auto", "yes", "no"]
Colour = UInt8[np.ndarray, "height width 3"]
Grey = UInt8[np.ndarray, "height width"]
Shape = tuple[int, int, int]

MAX_BYTES = 20 * 2**20
MAX_PIXELS = 50_000_000
MAX_SIDE = 65_535
WORKING_SIDE = 1024
"""A picture's longer side is reduced to this many pixels before anything else; no model's image is larger."""

SIGNATURES = (("PNG", b"\x89PNG"), ("JPEG", b"\xff\xd8\xff"), ("GIF", b"GIF8"), ("BMP", b"BM"), ("WEBP", b"RIFF"))
STRANGERS = (
    (b"%PDF", "a PDF document"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"<svg", "an SVG drawing"),
    (b"PK\3\4", "a ZIP archive or an office document"),
)
MODES = {"1": "black and white", "L": "grey", "P": "palette", "RGB": "colour", "CMYK": "CMYK", "I;16": "16-bit grey"}
MODES |= {"LA": "grey with transparency", "RGBA": "colour with transparency"}
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION_TAG = 0x0112
_EXPECTED = "a PNG, JPEG, WebP, BMP or GIF picture"
_BAND_PIXELS = 2**21  # pixels converted at a time: bounds the memory beside the decoded picture
_FAINT = 10  # grey levels: compression alone moves a plain background this far
_READING = threading.Lock()


class ImageError(ValueError):
    """A picture or a request that cannot be used; the message says what was found, what is expected and what to do."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture, upright, and what its file was.

    ``pixels`` are RGB, ``uint8 (height, width, 3)``, read-only, at most `WORKING_SIDE` on a side. ``width`` and
    ``height`` are those stored in the file; ``note`` says in plain words what was read and what was changed by it.
    """

    pixels: Colour
    format: str
    mode: str
    width: int
    height: int
    animated: bool
    note: str


@dataclass(frozen=True)
class Adjustments:
    """How a picture is fitted to a model; the defaults suit light objects on black that fill the frame.

    Raises:
        ImageError: a field is out of range.
    """

    turns: int = 0
    """Quarter turns clockwise, 0 to 3."""
    flip: bool = False
    """Mirror left and right, after turning."""
    invert: Invert = "auto"
    """auto: swap light and dark where the border is bright."""
    clear: bool = True
    """Make a dark, near-uniform background black, as level as the border shows it."""
    crop: bool = True
    """Cut to what differs from the border."""
    margin: float = 0.0
    """Kept around what is cropped to, as a share of its longer side, 0 to 0.5."""
    pad: bool = True
    """Add background to the model's proportions (a square, for a square model) rather than stretch."""

    def __post_init__(self) -> None:
        if isinstance(self.turns, bool) or not isinstance(self.turns, int) or not 0 <= self.turns <= 3:
            raise ImageError(f"turns must be a whole number of quarter turns from 0 to 3, got {self.turns!r}")
        for field in ("flip", "clear", "crop", "pad"):
            if not isinstance(getattr(self, field), bool):
                raise ImageError(f"{field} must be True or False, got {getattr(self, field)!r}")
        if self.invert not in get_args(Invert):
            raise ImageError(f"invert must be one of {', '.join(get_args(Invert))}, got {self.invert!r}")
        number = isinstance(self.margin, (int, float)) and not isinstance(self.margin, bool)
        if not number or not 0 <= self.margin <= 0.5:
            raise ImageError(f"margin must be a number from 0 to 0.5, got {self.margin!r}")


@dataclass(frozen=True, eq=False)
class PipelineStep:
    """One step: its name, a sentence on what was done, and the ``uint8 (h, w)`` or ``(h, w, 3)`` it gave, read-only."""

    name: str
    note: str
    image: Grey | Colour


@dataclass(frozen=True, eq=False)
class Prepared:
    """What the model reads, ``uint8 (channels, height, width)``, and the steps that led there."""

    steps: tuple[PipelineStep, ...]
    pixels: UInt8[np.ndarray, "channels height width"]


@dataclass(frozen=True, eq=False)
class _Background:
    """The border's median and the distance from it that is still background, one value a channel."""

    level: Float64[np.ndarray, " channels"]
    tolerance: Float64[np.ndarray, " channels"]
    plain: bool  # the border has no spread at all


def default_adjustments(channels: int) -> Adjustments:
    """What to begin with: all automatic for a grey model; only padding for a colour model, whose data are photos."""
    return Adjustments() if channels == 1 else Adjustments(invert="no", clear=False, crop=False)


def read_picture(data: bytes) -> Picture:
    """The first frame of a PNG, JPEG, WebP, BMP or GIF file, upright as its EXIF data asks, as 8-bit RGB.

    Sizes are checked before anything is decoded. Transparent parts are laid on white, or on black where what is visible
    is itself nearly white. Large pictures are reduced to `WORKING_SIDE`, by averaging.

    Raises:
        ImageError: empty, too large, not one of the five formats, cut or damaged.
    """
    if len(data) > MAX_BYTES:
        limit = f"at most 20 MB ({MAX_BYTES:,} bytes) are read"
        raise ImageError(f"The file has {len(data):,} bytes; {limit}: make the picture smaller and upload it again.")
    name = _format(data)
    # NOTE: Pillow warns about odd metadata, which is of no concern here, and silencing that is not made for threads:
    # hence the lock. It also means that only one large picture is in memory at a time.
    with _READING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _decode(data, name)
        except ImageError:
            raise
        except Image.DecompressionBombError:
            raise _too_large(name, "far too large") from None
        except Exception as error:  # NOTE: on hostile bytes Pillow raises a dozen unrelated types; all mean the same
            raise ImageError(
                f"The {name} file is cut or damaged and cannot be decoded: expected a whole picture. Open it in an "
                "image program, save it again as PNG or JPEG, and upload that."
            ) from error


def _too_large(name: str, found: str) -> ImageError:
    most = f"at most {MAX_PIXELS // 10**6} megapixels and {MAX_SIDE:,} pixels a side are read"
    return ImageError(f"The {name} picture is {found}; {most}: make it smaller and upload it again.")


def _format(data: bytes) -> str:
    """Which of the five formats the first bytes announce."""
    for name, signature in SIGNATURES:
        if data.startswith(signature) and (name != "WEBP" or data[8:12] == b"WEBP"):
            return name
    if not data:
        found = "an empty file"
    elif data[4:8] == b"ftyp":
        found = "a HEIC or AVIF photo or a video"
    else:
        start = data[:16]
        printable = all(32 <= byte < 127 or byte in b"\t\r\n" for byte in start)
        other = "text" if printable else f"bytes that begin with {start[:4].hex(' ')}"
        found = next((words for signature, words in STRANGERS if data.startswith(signature)), other)
    raise ImageError(f"Expected {_EXPECTED}, found {found}: save the picture as PNG or JPEG and upload that.")


def _decode(data: bytes, name: str) -> Picture:
    with Image.open(BytesIO(data), formats=[name]) as image:
        width, height, mode = image.width, image.height, image.mode
        longer = max(width, height)
        if width * height > MAX_PIXELS or longer > MAX_SIDE:
            raise _too_large(name, f"{width:,} x {height:,} pixels")
        if name == "JPEG" and longer > WORKING_SIDE:  # decoded at 1/2, 1/4 or 1/8 where that is large enough
            image.draft(None, (max(1, width * WORKING_SIDE // longer), max(1, height * WORKING_SIDE // longer)))
        image.load()
        pixels, laid_on = _opaque(_reduced(image))
        orientation = _orientation(image)
        animated = name in ("GIF", "PNG", "WEBP") and _is_animated(image)
    small = Image.fromarray(pixels)
    scale = WORKING_SIDE / max(small.size)
    if scale < 1:
        size = (max(1, round(small.width * scale)), max(1, round(small.height * scale)))
        small = small.resize(size, Image.Resampling.HAMMING)
    if orientation in UPRIGHT:
        small = small.transpose(UPRIGHT[orientation])
    pixels = _sealed(np.array(small))
    notes = [f"{name}, {width:,} x {height:,} pixels, {MODES.get(mode, mode)}."]
    notes += ["The first frame of an animation."] if animated else []
    notes += [f"Transparent parts laid on {laid_on}."] if laid_on else []
    notes += ["Set upright as the camera noted."] if orientation in UPRIGHT else []
    notes += [f"Reduced to {small.width:,} x {small.height:,} to work on."] if longer > WORKING_SIDE else []
    return Picture(pixels, name, mode, width, height, animated, " ".join(notes))


def _reduced(image: Image.Image) -> UInt8[np.ndarray, "height width channels"]:
    """RGB or RGBA, averaged over whole blocks of pixels until the longer side is under twice `WORKING_SIDE`.

    Done a band of rows at a time. Blocks are averaged with their alpha: hidden colour doesn't leak into visible edges.
    """
    factor = max(1, max(image.size) // WORKING_SIDE)
    across, down = min(factor, image.width), min(factor, image.height)
    rows = max(1, _BAND_PIXELS // image.width // down) * down
    bands = []
    for top in range(0, image.height, rows):
        band = _eight_bit(image.crop((0, top, image.width, min(top + rows, image.height))))
        bands.append(np.asarray(band.reduce((across, down)) if factor > 1 else band))
    return np.concatenate(bands)


def _eight_bit(image: Image.Image) -> Image.Image:
    """RGBA of an image with any transparency, RGB of one without."""
    if image.mode.startswith("I"):  # NOTE: Pillow's own conversion of 16-bit grey clips at 255
        values = np.asarray(image).astype(np.int64)
        grey = Image.fromarray(((values.clip(0, 65_535) * 255 + 32_767) // 65_535).astype(np.uint8))
        hidden = image.info.get("transparency")
        if isinstance(hidden, int):
            grey.putalpha(Image.fromarray(np.where(values == hidden, 0, 255).astype(np.uint8)))
        image = grey
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _opaque(image: UInt8[np.ndarray, "height width channels"]) -> tuple[Colour, str]:
    """RGB without transparency, and the name of the ground it was laid on, empty where nothing was transparent."""
    if image.shape[2] == 3:
        return image, ""
    colour, alpha = image[..., :3].astype(np.uint32), image[..., 3:].astype(np.uint32)
    if alpha.min() == 255:
        return image[..., :3].copy(), ""
    visible = float((colour * alpha).sum(dtype=np.float64) / max(1.0, 3 * alpha.sum(dtype=np.float64)))
    ground, name = (0, "black") if visible > 191 else (255, "white")
    return ((colour * alpha + ground * (255 - alpha) + 127) // 255).astype(np.uint8), name


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, or 1 (upright) where none makes sense: a picture is not refused for its metadata."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # NOTE: as in read_picture, the types are many
        return 1
    return value if isinstance(value, int) else 1


def _is_animated(image: Image.Image) -> bool:
    """Whether more frames follow; damage behind the first frame is not the first frame's."""
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # NOTE: as in read_picture, the types are many
        return False


def prepare(picture: Picture, shape: Shape, adjustments: Adjustments | None = None) -> Prepared:
    """A picture as a model of this ``(channels, height, width)`` reads it, step by step: picture, orientation, colour,
    invert, background, crop, pad, resize. Without adjustments it takes the `default_adjustments`.

    Raises:
        ImageError: channels other than 1 or 3, or sides beyond 1 to `WORKING_SIDE`.
    """
    channels, height, width = _checked(shape)
    chosen = adjustments or default_adjustments(channels)
    steps = [PipelineStep("Picture", picture.note, picture.pixels)]

    def add(name: str, image: np.ndarray, note: str) -> np.ndarray:
        steps.append(PipelineStep(name, note, _sealed(image)))
        return image

    image = add("Orientation", *_orient(picture.pixels, chosen))
    image = add("Colour", *_recolour(image, channels))
    image = add("Invert", *_invert(image, chosen.invert))
    ground = _background(image)
    content = _content(image, ground)
    cleared, note = _clear(image, content, ground, chosen.clear)
    level = np.zeros(channels) if cleared is not image else ground.level
    image = add("Background", cleared, note)
    image = add("Crop", *_crop(image, content, chosen))
    image = add("Pad", *_pad(image, level, (height, width), chosen.pad))
    image = add("Resize", *_resize(image, (height, width)))
    pixels = image[None] if channels == 1 else image.transpose(2, 0, 1)
    return Prepared(tuple(steps), np.array(pixels, order="C"))


def _checked(shape: Shape) -> Shape:
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise ImageError(f"Expected a model of grey (1 channel) or RGB images (3 channels), got the shape {shape}.")
    if not all(1 <= side <= WORKING_SIDE for side in shape[1:]):
        raise ImageError(f"Expected a model's height and width from 1 to {WORKING_SIDE:,}, got the shape {shape}.")
    return shape


def _sealed(image: np.ndarray) -> np.ndarray:
    image.flags.writeable = False
    return image


def _orient(image: np.ndarray, chosen: Adjustments) -> tuple[np.ndarray, str]:
    turned = np.rot90(image, -chosen.turns)
    turned = np.ascontiguousarray(turned[:, ::-1] if chosen.flip else turned)
    done = [f"turned clockwise by {90 * chosen.turns} degrees"] if chosen.turns else []
    done += ["mirrored left and right"] if chosen.flip else []
    return turned, f"{' and '.join(done).capitalize()}." if done else "Left as it is: no turn was asked for."


def _recolour(image: Colour, channels: int) -> tuple[np.ndarray, str]:
    colourless = bool((image == image[..., :1]).all())
    if channels == 3:
        return image, f"Left as it is: the model reads colour{', though the picture has none' if colourless else ''}."
    if colourless:
        return image[..., 0].copy(), "Left as it is: the picture is grey."
    grey = np.array(Image.fromarray(image).convert("L"))
    return grey, "Made grey, as bright as it looks (30% red, 59% green, 11% blue)."


def _invert(image: np.ndarray, invert: Invert) -> tuple[np.ndarray, str]:
    brightness = float(_background(image).level.mean())
    measured = f"the border is {'bright' if brightness > 127 else 'dark'} (level {brightness:.0f} of 255)"
    if invert == "yes" or (invert == "auto" and brightness > 127):
        return 255 - image, f"Inverted: {measured if invert == 'auto' else 'as asked'}."
    return image, f"Left as it is: {measured if invert == 'auto' else 'no inversion was asked for'}."


def _background(image: np.ndarray) -> _Background:
    """What the border says of the background, by medians: an object that touches it in places doesn't count."""
    height, width = image.shape[:2]
    thick = max(1, min(height, width) // 32)
    inside = np.zeros((height, width), dtype=bool)
    inside[thick : height - thick, thick : width - thick] = True
    border = image[~inside].reshape(int((~inside).sum()), -1).astype(np.float64)
    level = np.median(border, axis=0)
    spread = 1.4826 * np.median(np.abs(border - level), axis=0)  # of a normal distribution, its standard deviation
    return _Background(level, np.maximum(_FAINT, 4 * spread), not spread.any())


def _content(image: np.ndarray, ground: _Background) -> Bool[np.ndarray, "height width"]:
    """Where the image differs from its background in any channel, without the specks of a large image."""
    channels = image.reshape(*image.shape[:2], -1)
    differs = np.zeros(image.shape[:2], dtype=bool)
    for channel, level, tolerance in zip(range(channels.shape[2]), ground.level, ground.tolerance, strict=True):
        values = np.arange(256)
        differs |= (np.abs(values - level) > tolerance)[channels[..., channel]]
    if max(differs.shape) <= 128:
        return differs
    height, width = image.shape[:2]
    padded = np.pad(differs.astype(np.uint8), 1)
    across = padded[:, :width] + padded[:, 1 : width + 1] + padded[:, 2:]
    around = across[:height] + across[1 : height + 1] + across[2:]
    kept: np.ndarray = differs & (around >= 3)  # itself and two beside it
    return kept


def _clear(
    image: np.ndarray, content: Bool[np.ndarray, "height width"], ground: _Background, clear: bool
) -> tuple[np.ndarray, str]:
    level = float(ground.level.mean())
    if not clear:
        return image, "Left as it is: the background is kept."
    if ground.plain and not ground.level.any():
        return image, "Left as it is: the border is black already."
    if float((ground.level + ground.tolerance).max()) >= 128:
        return (
            image,
            f"Left as it is: the border is too bright or uneven (level {level:.0f} of 255) to be black.",
        )
    stretched = (image - ground.level.squeeze()) * 255 / (255 - ground.level.squeeze())
    kept = content if image.ndim == 2 else content[..., None]
    cleared = np.where(kept, stretched.clip(0, 255).round(), 0).astype(np.uint8)
    return cleared, f"Made black: what is as dark as the border (level {level:.0f} of 255, give or take its spread)."


def _crop(image: np.ndarray, content: Bool[np.ndarray, "height width"], chosen: Adjustments) -> tuple[np.ndarray, str]:
    rows, columns = np.flatnonzero(content.any(axis=1)), np.flatnonzero(content.any(axis=0))
    if not chosen.crop:
        return image, "Left as it is: no crop was asked for."
    if not len(rows):
        return image, "Left as it is: nothing differs from the border."
    margin = round(chosen.margin * max(np.ptp(rows) + 1, np.ptp(columns) + 1))
    top, left = max(0, rows[0] - margin), max(0, columns[0] - margin)
    cropped = image[top : rows[-1] + 1 + margin, left : columns[-1] + 1 + margin].copy()
    height, width = cropped.shape[:2]
    if cropped.shape == image.shape:
        return image, "Left as it is: the content fills the picture."
    return cropped, f"Cut to the content: {width:,} x {height:,} pixels, from {left:,} across and {top:,} down."


def _pad(
    image: np.ndarray, level: Float64[np.ndarray, " channels"], size: tuple[int, int], pad: bool
) -> tuple[np.ndarray, str]:
    if not pad:
        return image, "Left as it is: no padding was asked for; resizing may stretch it."
    # NOTE: a model of extreme proportions would ask for a huge canvas: then the image is made smaller first.
    canvas = _canvas(image.shape[:2], size)
    if max(canvas) > 4 * WORKING_SIDE:
        scale = 4 * WORKING_SIDE / max(canvas)
        image = _resize(image, (max(1, int(image.shape[0] * scale)), max(1, int(image.shape[1] * scale))))[0]
        canvas = _canvas(image.shape[:2], size)
    height, width = image.shape[:2]
    if canvas == (height, width):
        return image, "Left as it is: it has the model's proportions."
    padded = np.empty((*canvas, *image.shape[2:]), dtype=np.uint8)
    padded[:] = level.round().squeeze()
    top, left = (canvas[0] - height) // 2, (canvas[1] - width) // 2
    padded[top : top + height, left : left + width] = image
    return padded, f"Padded with the background's level ({level.mean():.0f}) to {canvas[1]:,} x {canvas[0]:,} pixels."


def _canvas(image: tuple[int, ...], size: tuple[int, int]) -> tuple[int, int]:
    """The smallest ``(height, width)`` of the proportions of ``size`` that holds an image of this height and width."""
    (height, width), (tall, wide) = image, size
    return max(height, math.ceil(width * tall / wide)), max(width, math.ceil(height * wide / tall))


def _resize(image: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, str]:
    """Resized to ``(height, width)`` with a filter that averages and has no negative lobes, so edges get no halo."""
    height, width = image.shape[:2]
    if (height, width) == size:
        return image, "Left as it is: it has the model's size."
    resized = np.array(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.HAMMING))
    return resized, f"Resized from {width:,} x {height:,} to {size[1]:,} x {size[0]:,} pixels, with antialiasing."


def to_png(image: np.ndarray, scale: int = 1) -> bytes:
    """A PNG file of a ``uint8`` image ``(h, w)``, ``(h, w, 3)``, ``(1, h, w)`` or ``(3, h, w)``, each pixel repeated
    ``scale`` times. Three numbers that end in 3 are always taken as ``(h, w, 3)``.

    Raises:
        ImageError: another type or shape, a scale below 1, or a picture of more than `MAX_PIXELS`.
    """
    array = np.asarray(image)
    if array.ndim == 3 and array.shape[2] != 3:
        array = array[0] if array.shape[0] == 1 else array.transpose(1, 2, 0)
    fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)
    if array.dtype != np.uint8 or not fits or 0 in array.shape:
        expected = "uint8 (h, w), (h, w, 3), (1, h, w) or (3, h, w)"
        raise ImageError(f"A PNG is made of {expected}, got {image.dtype} {image.shape}.")
    height, width = array.shape[:2]
    most = math.isqrt(MAX_PIXELS // (height * width))
    if isinstance(scale, bool) or not isinstance(scale, int) or not 1 <= scale <= most:
        raise ImageError(f"scale must be a whole number from 1 to {most:,} for {width} x {height}, got {scale!r}")
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(array.repeat(scale, axis=0).repeat(scale, axis=1))).save(buffer, "PNG")
    return buffer.getvalue()
