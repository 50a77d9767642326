"""Images that a model was not trained on, to see whether its verdicts notice: noise, photographs, digits, and test images
inverted, turned over or laid on their side. Each is made from some test images, whose shape it takes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

Images = UInt8[np.ndarray, "n channels height width"]
Made = UInt8[np.ndarray, "made channels height width"]
COUNT = 300


def noise(test: Images) -> Made:
    """Every value drawn evenly from 0 to 255."""
    return np.random.default_rng(0).integers(0, 256, (COUNT, *test.shape[1:])).astype(np.uint8)


def inverted(test: Images) -> Made:
    """Light and dark swapped."""
    return 255 - test


def upside_down(test: Images) -> Made:
    """Turned by 180 degrees."""
    return np.ascontiguousarray(test[:, :, ::-1, ::-1])


def digits(test: Images) -> Made:
    """The digits 0 to 9, white on black, of several sizes and slants, as large as the picture."""
    random, (_, channels, height, width) = np.random.default_rng(0), test.shape
    found = []
    for number in range(COUNT):
        canvas = Image.new("L", (128, 128))
        font = ImageFont.load_default(int(random.integers(90, 130)))
        ImageDraw.Draw(canvas).text(
            (64, 64),
            str(number % 10),
            fill=255,
            font=font,
            anchor="mm",
            stroke_width=int(random.integers(0, 5)),
            stroke_fill=255,
        )
        turned = canvas.rotate(float(random.uniform(-15, 15)), Image.Resampling.BILINEAR)
        found.append(np.array(turned.resize((width, height), Image.Resampling.HAMMING)))
    return np.repeat(np.stack(found)[:, None], channels, axis=1)


def photographs(test: Images) -> Made:
    """Squares cut at random, large and small, out of the two photographs that come with scikit-learn."""
    from sklearn.datasets import load_sample_images

    random, (_, channels, height, width) = np.random.default_rng(0), test.shape
    pictures = [Image.fromarray(photo) for photo in load_sample_images().images]
    found = []
    for number in range(COUNT):
        picture = pictures[number % len(pictures)]
        side = int(random.choice([56, 112, 224, 400]))
        left, top = (int(random.integers(0, extent - side + 1)) for extent in picture.size)
        part = picture.crop((left, top, left + side, top + side)).resize((width, height), Image.Resampling.HAMMING)
        found.append(np.atleast_3d(np.array(part.convert("L" if channels == 1 else "RGB"))).transpose(2, 0, 1))
    return np.stack(found)


PROBES: dict[str, Callable[[Images], Made]] = {
    "noise": noise,
    "photographs": photographs,
    "digits": digits,
    "inverted test images": inverted,
    "test images upside down": upside_down,
}
"""What makes each kind, by what it is called."""
