"""The map as one HTML file: what is written into it. What a browser makes of it is in tests/e2e."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from vae import ImageDataset, Map, MapConfig, Run, load_test_data, make_dataset, make_map, map_html
from vae.html_map import sprite_png, thumbnails
from vae.palette import PETROFF

HOSTILE = ('</script><script>window.hit = 1</script><img src=x onerror="hit = 1">', "${x} $title &lt;b&gt;", "\u2028\x00whole")


class Reader(HTMLParser):
    """The elements of a page with their attributes, and the text of each."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.feed(content.decode())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes), []))

    def handle_data(self, data: str) -> None:
        if self.elements:
            self.elements[-1][2].append(data)

    def text(self, tag: str, number: int = 0) -> str:
        return "".join([element for element in self.elements if element[0] == tag][number][2])


@pytest.fixture
def found(tiny_run: Run) -> Map:
    return make_map(tiny_run, MapConfig(method="pca"))


def page(run: Run, data: ImageDataset, found: Map) -> Reader:
    return Reader(map_html(run.name, run.load_encodings(), data, found, "abc123"))


def test_the_page_holds_every_point_and_every_thumbnail(tiny_run: Run, found: Map) -> None:
    data, encodings = load_test_data(tiny_run), tiny_run.load_encodings()
    reader = page(tiny_run, data, found)
    points = json.loads(reader.text("script", 1))
    for name, expected, kind in (
        ("x", found.coordinates[:, 0], "<f4"),
        ("y", found.coordinates[:, 1], "<f4"),
        ("elbo", encodings.elbo, "<f4"),
        ("labels", data.labels, "<i4"),
    ):
        assert np.array_equal(np.frombuffer(base64.b64decode(points[name]), kind), expected), name
    assert points["names"] == ["left", "right", "whole"]
    assert points["colours"] == list(PETROFF)
    source = next(attributes["src"] for tag, attributes, _ in reader.elements if attributes.get("id") == "sprite")
    assert source
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))
    columns = points["sprite"]["columns"]
    for row, image in enumerate(data.images):
        top, left = row // columns * 8, row % columns * 8
        assert np.array_equal(sheet[top : top + 8, left : left + 8], image[0]), row


def test_the_page_says_what_it_shows(tiny_run: Run, found: Map) -> None:
    reader = page(tiny_run, load_test_data(tiny_run), found)
    assert reader.text("title").strip() == reader.text("h1").strip() == "tiny-run: map of latent space"
    assert "24 of 24 test images of tiny shown; PCA of the posterior means" in reader.text("p", 0)
    assert "The ELBO is in nats, from one sample of z. Weights abc123." in reader.text("p", 0)
    assert reader.text("p", 1).strip() == "Point at an image to see it, 8 x 8 pixels."


def test_the_page_asks_for_nothing(tiny_run: Run, found: Map) -> None:
    reader = page(tiny_run, load_test_data(tiny_run), found)
    policy = next(a["content"] for _, a, _ in reader.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy
    assert policy.startswith("default-src 'none';")
    for tag, attributes, _ in reader.elements:
        assert tag != "iframe"
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)


def test_hostile_names_stay_text(tiny_run: Run, found: Map) -> None:
    data = load_test_data(tiny_run)
    plain = page(tiny_run, data, found)
    named = make_dataset(data.images, data.labels, HOSTILE)
    reader = Reader(map_html(HOSTILE[0] + HOSTILE[1], tiny_run.load_encodings(), named, found))
    assert [tag for tag, _, _ in reader.elements] == [tag for tag, _, _ in plain.elements]
    assert reader.text("h1").strip() == f"{HOSTILE[0]}{HOSTILE[1]}: map of latent space"
    names = json.loads(reader.text("script", 1))["names"]
    assert names == [HOSTILE[0], HOSTILE[1], "\N{REPLACEMENT CHARACTER}" * 2 + "whole"]


def test_without_labels_it_is_coloured_by_elbo(tiny_run: Run, found: Map) -> None:
    reader = page(tiny_run, make_dataset(load_test_data(tiny_run).images, name="bare"), found)
    points = json.loads(reader.text("script", 1))
    assert points["labels"] is None
    assert points["names"] == []


def test_large_images_are_shrunk_to_means_of_squares_and_the_page_says_so(
    tiny_run: Run, found: Map, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (24, 5, 10, 9)).astype(np.uint8)
    small, factor = thumbnails(images, most=24 * 25)
    assert (small.shape, factor) == ((24, 3, 5, 5), 2)
    expected = images[3, 1, 4:6, 2:4].mean()
    assert abs(small[3, 1, 2, 1] - expected) <= 0.5
    edge = images[3, 1, 4:6, 8:9].mean()
    assert abs(small[3, 1, 2, 4] - edge) <= 0.5
    whole, factor = thumbnails(images, most=24 * 90)
    assert factor == 1
    assert np.array_equal(whole, images[:, :3])
    monkeypatch.setattr("vae.html_map.thumbnails", lambda images: thumbnails(images, most=24 * 25))
    reader = page(tiny_run, make_dataset(images), found)
    said = "shrunk to 5 x 5 of its 10 x 9 pixels (the first 3 of 5 channels) so that the page stays small."
    assert said in re.sub(r"\s+", " ", reader.text("p", 1))


@pytest.mark.parametrize(("count", "shape"), [(1, (1, 8, 8)), (7, (3, 4, 9)), (30, (1, 16, 2))])
def test_a_sprite_holds_each_image_once(count: int, shape: tuple[int, int, int]) -> None:
    images = np.random.default_rng(0).integers(1, 256, (count, *shape)).astype(np.uint8)
    content, columns = sprite_png(images)
    sheet = np.asarray(Image.open(io.BytesIO(content)))
    channels, height, width = shape
    for row, image in enumerate(images):
        top, left = row // columns * height, row % columns * width
        tile = sheet[top : top + height, left : left + width]
        assert np.array_equal(tile if channels == 1 else tile.transpose(2, 0, 1), image[0] if channels == 1 else image)


def test_a_map_of_other_images_is_refused(tiny_run: Run, found: Map) -> None:
    other = make_dataset(load_test_data(tiny_run).images[:9])
    with pytest.raises(ValueError, match="expected 24 images and places on the map, as many as encodings"):
        page(tiny_run, other, found)


def test_umap_and_its_parameters_are_named(tiny_run: Run, found: Map) -> None:
    umap = Map(found.coordinates, MapConfig(neighbors=7, min_dist=0.25, seed=3), "a", "b")
    said = page(tiny_run, load_test_data(tiny_run), umap).text("p", 0)
    assert "UMAP of the posterior means in the active dimensions, 7 neighbours, min. distance 0.25, euclidean, seed 3." in said


def test_a_map_that_is_not_flat_is_refused(tiny_run: Run, found: Map) -> None:
    deep = Map(np.zeros((24, 3), np.float32), MapConfig(method="pca", components=3), "a", "b")
    with pytest.raises(ValueError, match="expected a flat map, got one in three dimensions"):
        page(tiny_run, load_test_data(tiny_run), deep)
