"""The page Reconstruct without a browser: verdicts, hostile files, several files, drawings, what is pasted."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

from dashboard.components.sketch import parse_drawing, parse_paste
from dashboard.pictures import HEAT, heat
from dashboard.reconstruct.judge import load_judge
from dashboard.reconstruct.many import judge_files, sheet_of, table_of
from dashboard.resources import load_run
from vae import VAE, MapConfig, Run, draw_png, load_dataset
from vae.images import MAX_BYTES
from vae.signals import SIGNALS

OpenApp = Callable[..., AppTest]


def said(app: AppTest) -> str:
    groups = (app.markdown, app.caption, app.info, app.error, app.warning, app.success)
    return "\n".join(element.value for group in groups for element in group)


def png(image: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind)
    return buffer.getvalue()


def garment(row: int) -> np.ndarray:
    return load_dataset("fashion-mnist", "test").images[row, 0]


def bomb() -> bytes:
    """A PNG that promises 20,000 x 20,000 pixels in a few bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


class File:
    """What the uploader gives."""

    def __init__(self, name: str, data: bytes) -> None:
        self.name, self._data = name, data

    def getvalue(self) -> bytes:
        return self._data


def test_a_garment_is_judged_with_all_that_it_rests_on(open_app: OpenApp) -> None:
    app = open_app("reconstruct")
    app.file_uploader[0].set_value(("a.png", png(garment(3)), "image/png")).run()
    assert not app.exception
    assert app.success[0].value.startswith("Like the training data: no signal is out of the ordinary (p = ")
    table = app.dataframe[0].value
    assert list(table["signal"]) == [signal.title for signal in SIGNALS]
    assert table["percentile"].between(0, 100).all()
    text = said(app)
    assert "Each signal beside 5,000 validation images" in text
    assert "The 8 nearest training images" in text
    assert "100 samples of q(z|x), each placed beside the test images nearest to it" in text
    assert len(app.get("plotly_chart")) == 1


def test_a_match_tells_who_fails(open_app: OpenApp) -> None:
    app = open_app("reconstruct")
    noise = np.random.default_rng(0).integers(0, 256, (28, 28)).astype(np.uint8)
    app.file_uploader[0].set_value(("noise.png", png(noise), "image/png")).run()
    assert app.error[0].value.startswith("Unlike anything it was trained on: its ")
    next(button for button in app.button if button.label == "Match").click().run()
    assert not app.exception
    assert "The decoder fails: no point that was found draws the image" in said(app)
    encoder, best = (float(metric.value.split()[0]) for metric in app.metric[-2:])
    assert best < encoder


HOSTILE: dict[str, tuple[bytes, str]] = {
    "cut": (png(garment(0))[:120], "is cut or damaged and cannot be decoded"),
    "a bomb": (bomb(), "The PNG picture is far too large; at most 50 megapixels"),
    "a JPEG that is called PNG": (png(garment(3), "JPEG"), "signals together"),
    "text": (b"not a picture at all", "found text: save the picture as PNG or JPEG"),
    "a floating-point TIFF with NaN": (png(np.full((9, 9), np.nan, np.float32), "TIFF"), "found a TIFF picture"),
    "nothing": (b"", "found an empty file"),
    "one pixel": (png(np.full((1, 1), 77, np.uint8)), "The picture is one even tone"),
    "a line of 20,000 pixels": (png(np.tile(np.arange(20_000) % 256, (1, 1)).astype(np.uint8)), "signals together"),
    "all black": (png(np.zeros((60, 60), np.uint8)), "The picture is one even tone (0 of 255)"),
    "all white": (png(np.full((60, 60), 255, np.uint8)), "The picture is one even tone"),
}


@pytest.mark.parametrize("name", list(HOSTILE))
def test_every_file_gets_a_sentence(open_app: OpenApp, name: str) -> None:
    data, sentence = HOSTILE[name]
    app = open_app("reconstruct")
    app.file_uploader[0].set_value(("a.png", data, "image/png")).run()
    assert not app.exception
    assert sentence in said(app)


Spoil = Callable[[VAE], None]


def spoil(run: Run, change: Spoil) -> None:
    """What someone who means ill would hand on: weights that are whole and finite, beside all that belongs to them."""
    reference = {name: array for name, array in run.load_reference().items() if name != "made_from"}
    encodings, places, model = run.load_encodings(), run.load_map(MapConfig()), run.load_model()
    change(model)
    run.save_weights(model)
    run.save_encodings(encodings)
    run.save_map(places.coordinates, MapConfig())
    run.save_reference(reference)


def overflows_on_white(model: VAE) -> None:
    """The first kernel's sum is infinite where sixteen pixels together are nearly white, and harmless elsewhere."""
    kernel, norm = model.encoder.features[0], model.encoder.features[1]
    kernel.weight[0] = torch.finfo(torch.float32).max / 16 / 0.95
    norm.weight[0], norm.running_var[0], norm.running_mean[0] = 1e-38, 1.0, 0.0


def overflows_always(model: VAE) -> None:
    for value in model.decoder.parameters():
        value.fill_(3e38)


def test_a_model_that_answers_nan_gets_a_sentence(open_app: OpenApp, tiny_run: Run) -> None:
    spoil(tiny_run, overflows_on_white)
    white = np.zeros((28, 28), np.uint8)
    white[4:24, 4:24] = 255
    sentence = "The model's answer to this picture isn't finite, so there is nothing to judge"
    app = open_app("reconstruct")
    app.file_uploader[0].set_value([("white.png", png(white), "image/png")]).run()
    assert not app.exception
    assert [error.value.startswith(sentence) for error in app.error] == [True]
    both = [("white.png", png(white), "image/png"), ("grey.png", png(white // 2), "image/png")]
    app.file_uploader[0].set_value(both).run()
    assert not app.exception
    assert [verdict == "can't be read" for verdict in app.dataframe[0].value["verdict"]] == [True, False]
    assert sentence in said(app)


@pytest.mark.parametrize("page", [None, "reconstruct", "generate", "inference", "dataset", "train", "runs"])
def test_a_model_that_always_answers_nan_is_told_on_every_page(open_app: OpenApp, tiny_run: Run, page: str | None) -> None:
    spoil(tiny_run, overflows_always)
    app = open_app(page)
    assert not app.exception
    if page not in ("dataset", "train", "runs"):  # which need no run
        assert "expected a model that answers in numbers, found NaN or infinity for the first test image" in said(app)


def test_several_files_make_a_table(open_app: OpenApp) -> None:
    app = open_app("reconstruct")
    files = [(f"{name}.png", data, "image/png") for name, (data, _) in HOSTILE.items()]
    app.file_uploader[0].set_value([("shirt.png", png(garment(3)), "image/png"), *files]).run()
    assert not app.exception
    table = app.dataframe[0].value
    assert len(table) == 11
    assert table.loc[0, "verdict"] == "like the training data"
    assert all(table.loc[0, name].startswith("data:image/png;base64,") for name in ("input", "reconstructed"))
    assert table.loc[0, "reconstruction"] > 0
    assert not any(element.value == "`None`" for element in app.markdown)
    assert (table["verdict"] == "can't be read").sum() == len(app.error) == 5
    assert "**11 pictures**" in said(app)


def test_the_table_and_the_sheet_to_take_away() -> None:
    loaded = load_run("fashion-mnist")
    judge = load_judge(loaded)
    assert not isinstance(judge, str)
    files = [File("=cmd.png", png(garment(3))), File("inverted.png", png(255 - garment(3))), File("x.png", b"no")]
    found = judge_files(loaded, judge, files)
    table = pd.read_csv(io.BytesIO(table_of(found, thumbnails=False).to_csv(index=False).encode()))
    assert list(table["file"]) == ["'=cmd.png", "inverted.png", "x.png"]
    verdict = found[0].verdict
    assert verdict is not None
    assert table.loc[0, "p"] == pytest.approx(verdict.p)
    assert table.loc[0, "negative_elbo"] == pytest.approx(float(verdict.values[0]), rel=1e-5)
    assert table.loc[2, ["p", "kl", "kl_percentile"]].isna().all()
    picture = Image.open(io.BytesIO(draw_png(sheet_of("run", [one for one in found if one.verdict]))))
    assert picture.format == "PNG"
    assert min(picture.size) > 150


def test_too_many_files_are_told(open_app: OpenApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.reconstruct.many.MOST_FILES", 2)
    app = open_app("reconstruct")
    app.file_uploader[0].set_value([(f"{row}.png", png(garment(row)), "image/png") for row in range(3)]).run()
    assert "Expected at most 2 pictures at once, found 3: the first 2 are shown." in said(app)
    assert len(app.dataframe[0].value) == 2


def test_a_drawing_is_judged_and_a_foreign_one_is_not_taken(open_app: OpenApp) -> None:
    app = open_app("reconstruct")
    app.segmented_control(key="source").set_value("draw").run()
    assert "No picture yet." in said(app)
    visit = app.session_state["visit"]
    base = "not the canvas of this page"
    drawn = base64.b64encode(garment(3).tobytes()).decode()
    app.session_state[f"draw-{visit.instance}"] = {"drawing": {"base": base, "pixels": drawn}}
    app.run()
    assert "No picture yet." in said(app)
    from hashlib import blake2b

    blank = np.zeros((1, 28, 28), np.uint8)
    base = blake2b(repr(blank.shape).encode() + blank.tobytes(), digest_size=8).hexdigest()
    app.session_state[f"draw-{visit.instance}"] = {"drawing": {"base": base, "pixels": drawn}}
    app.run()
    assert not app.exception
    assert app.success[0].value.startswith("Like the training data")


def test_what_is_pasted_is_a_picture_or_a_sentence(open_app: OpenApp) -> None:
    app = open_app("reconstruct")
    key = f"paste-{app.session_state['visit'].instance}"
    app.session_state[key] = {"pasted": base64.b64encode(png(garment(3))).decode()}
    app.run()
    assert not app.exception
    assert "Like the training data" in said(app)
    app.session_state[key] = {"pasted": base64.b64encode(b"%PDF-1.4").decode()}
    app.run()
    assert "found a PDF document" in said(app)


@pytest.mark.parametrize(
    "value",
    [
        *(None, 3, "AAAA", {}, {"base": "b"}, {"base": "x", "pixels": "AAAA"}, {"base": "b", "pixels": "AAA"}),
        *({"base": "b", "pixels": "AAAAAAAA"}, {"base": "b", "pixels": "A" * 10**6}, {"base": "b", "pixels": ["A"]}),
    ],
)
def test_a_drawing_that_is_none_is_refused(value: object) -> None:
    assert parse_drawing(value, "b", (1, 1, 3)) is None


def test_drawings_and_pastes_are_decoded() -> None:
    pixels = parse_drawing({"base": "b", "pixels": base64.b64encode(bytes([1, 2, 3])).decode()}, "b", (1, 1, 3))
    assert pixels is not None
    assert pixels.tolist() == [[[1, 2, 3]]]
    assert parse_paste(base64.b64encode(b"x").decode()) == b"x"
    assert parse_paste("A" * (2 * MAX_BYTES)) is None
    assert parse_paste("ä") is None


def test_a_heat_map_runs_from_black_to_its_last_colour() -> None:
    colours = heat(np.array([[0.0, 1.0, 5.0]], dtype=np.float32), 1.0)
    assert colours.shape == (3, 1, 3)
    assert colours[:, 0, 0].tolist() == list(HEAT[0])
    assert colours[:, 0, 1].tolist() == colours[:, 0, 2].tolist() == list(HEAT[-1])
    ramp = heat(np.linspace(0, 1, 50, dtype=np.float32)[None], 1.0)[:, 0].astype(float)
    assert (np.diff(0.3 * ramp[0] + 0.59 * ramp[1] + 0.11 * ramp[2]) > 0).all()
