"""Names that come out of files are shown as they are: none of them is read as Markdown, which could fetch from elsewhere."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.markdown import plain
from vae import Run, load_test_data
from vae.preview import take_look

EVIL = "![x](http://evil.example/x.png)"
OpenApp = Callable[..., AppTest]


def shown(app: AppTest) -> list[str]:
    """Everything on the page that Streamlit reads as Markdown, but for help texts and labels of our own."""
    assert not app.exception
    groups = (app.markdown, app.caption, app.info, app.error, app.warning, app.success)
    texts = [element.value for group in groups for element in group]
    texts += [option for pills in app.get("button_group") for option in pills.options]
    return texts + [image.caption for images in app.get("imgs") for image in images.proto.imgs]


def check(app: AppTest, times: int) -> None:
    """The evil name stands on the page so many times or more, and never as Markdown."""
    texts = shown(app)
    assert [text for text in texts if EVIL in text] == []
    assert sum(text.count(plain(EVIL)) for text in texts) >= times


@pytest.fixture
def row(tiny_run: Run) -> int:
    """A test image of the class with the evil name, of the run ``tiny-run``."""
    (tiny_run.path.parents[1] / "data" / "tiny" / "classes.txt").write_text(f"{EVIL}\nright\nwhole\n")
    labels = load_test_data(tiny_run).labels
    assert labels is not None
    return int((labels == 0).argmax())


def test_a_class_name_on_explore(open_app: OpenApp, row: int) -> None:
    app = open_app(row=str(row))
    check(app, 2)  # what is decoded, and what the neighbours are near to
    app.text_input(key="search").set_value(EVIL).run()
    check(app, 3)


def test_a_class_name_on_generate(open_app: OpenApp, row: int) -> None:
    app = open_app("generate", row=str(row))

    def show(section: str) -> None:
        next(group for group in app.get("button_group") if group.label == "Generate").set_value(section).run()

    show("Traversal")
    check(app, 1)
    show("Interpolation")
    check(app, 1)  # the pill
    next(box for box in app.text_input if box.label == "Find test images").set_value(EVIL).run()
    check(app, 2)
    next(button for button in app.button if button.label == "Add a random one").click().run()
    check(app, 3)  # the frame
    show("Directions")
    check(app, 2)
    show("Arithmetic")
    check(app, 0)


def test_a_class_name_on_reconstruct_and_dataset(open_app: OpenApp, row: int) -> None:
    app = open_app("reconstruct", row=str(row))
    check(app, 1)  # what the model has seen
    app.segmented_control(key="source").set_value("test").run()
    check(app, 1)
    app.switch_page("views/dataset.py").run()
    check(app, 2)
    app.switch_page("views/inference.py").run()
    check(app, 1)


@pytest.mark.usefixtures("row")
def test_names_in_an_upload(open_app: OpenApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.uploads.look_apart", take_look)
    app = open_app("dataset")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"../{EVIL}", b"hello")
    before = len(app.error)
    app.file_uploader[0].set_value(("a.zip", buffer.getvalue(), "application/zip")).run()
    assert len(app.error) == before + 1
    assert plain(f"'../{EVIL}', which leads out of it") in app.error[-1].value
    check(app, 1)
