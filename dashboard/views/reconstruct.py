"""Reconstruct: any picture, step by step into the model's form, what the model makes of it, and whether to believe that."""

from __future__ import annotations

import hashlib

import numpy as np
import streamlit as st
from PIL import Image
from streamlit.delta_generator import DeltaGenerator

from dashboard.components.sketch import paste_button, sketch
from dashboard.downloads import offer_downloads
from dashboard.links import begin_page
from dashboard.markdown import plain
from dashboard.pictures import difference, enlarged, heat, to_uint8
from dashboard.reconstruct.judge import load_judge
from dashboard.reconstruct.many import show_many
from dashboard.reconstruct.match import match_panel
from dashboard.reconstruct.verdict import show_cloud, show_nearest, show_sentence, show_signals, show_uncertainty
from dashboard.resources import LoadedRun, Subject
from dashboard.state import Visit
from vae import generator_for, sample_prior
from vae.images import Adjustments, ImageError, Invert, Picture, Prepared, default_adjustments, prepare, read_picture, to_png
from vae.signals import SignalError

SOURCES = {"upload": "Upload a picture", "camera": "Take a photo", "draw": "Draw", "test": "Random test image"}
INVERT: dict[Invert, str] = {"auto": "automatic", "yes": "yes", "no": "no"}
STEP_SIDE = 400  # the longer side of a step's picture, in pixels, at most
TURNS = ("upright", "90° clockwise", "180°", "90° counter-clockwise")


def page() -> None:
    """Draw the page."""
    begun = begin_page()
    if begun is None:
        return
    visit, loaded = begun
    st.subheader("Reconstruct a picture")
    channels, height, width = loaded.data.image_shape
    colour = "grey" if channels == 1 else "colour"
    st.markdown(
        f"The model reads {colour} images of {width} × {height} pixels like those of {loaded.data.name}. "
        "A picture is brought into that form step by step, and every step can be changed."
    )
    source = st.segmented_control(
        "Where the picture comes from",
        list(SOURCES),
        format_func=SOURCES.__getitem__,
        default="upload",
        required=True,
        key="source",
    )
    if source == "test":
        _result(loaded, visit, loaded.subject(_test_image(loaded, visit)), None)
    elif source == "draw":
        _drawn(loaded, visit)
    else:
        _from_outside(loaded, visit, source)


# --- where the picture comes from ----------------------------------------------------------------------------------


def _test_row(loaded: LoadedRun, visit: Visit) -> int:
    if "test-row" not in st.session_state or st.session_state["test-row"] >= len(loaded.data):
        st.session_state["test-row"] = visit.row
    return int(st.session_state["test-row"])


def _test_image(loaded: LoadedRun, visit: Visit) -> int:
    def another() -> None:
        st.session_state["test-row"] = int(np.random.default_rng().integers(len(loaded.data)))

    row = _test_row(loaded, visit)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Another image", icon=":material/shuffle:", on_click=another)
        name = loaded.data.class_name(row)
        st.markdown(f"Test image {row}" + (f", {plain(name)}" if name else "") + ": it is in the model's form already.")
    return row


def _drawn(loaded: LoadedRun, visit: Visit) -> None:
    st.caption("Draw, in the model's own pixels. The model answers at every stroke's end.")
    drawn = sketch(np.zeros(loaded.data.image_shape, dtype=np.uint8), key=f"draw-{visit.instance}")
    if drawn.any():
        _result(loaded, visit, loaded.subject_from_outside(drawn), None)
    else:
        _how_to_begin(loaded)


def _from_outside(loaded: LoadedRun, visit: Visit, source: str) -> None:
    if source == "upload":
        files = st.file_uploader(
            "PNG, JPEG, WebP, BMP or GIF pictures, each at most 20 MB and 50 megapixels",
            key="uploaded",
            accept_multiple_files=True,
            max_upload_size=20,
            help="They are read in memory, never written to disk, and not part of the page's link.",
        )
        pasted = paste_button(key=f"paste-{visit.instance}")
        if len(files) > 1:
            judge = load_judge(loaded)
            if isinstance(judge, str):
                st.error(plain(judge))
            else:
                show_many(loaded, judge, files)
            return
        data = files[0].getvalue() if files else pasted
    else:
        photo = st.camera_input("A photo of the object on a plain background", key="photo")
        data = None if photo is None else photo.getvalue()
    if data is None:
        _how_to_begin(loaded)
        return
    try:
        with st.spinner("Reading the picture"):
            picture = _read(hashlib.sha256(data).hexdigest(), data)
        _pipeline(loaded, visit, picture)
    except ImageError as error:
        st.error(f"{error}")


def _how_to_begin(loaded: LoadedRun) -> None:
    names = loaded.data.class_names
    known = f" The model has seen {plain(', '.join(names[:12]))}{' and more' if len(names) > 12 else ''}." if names else ""
    st.info(f"No picture yet. One object on a plain background works best.{known} A random test image is one click away.")


@st.cache_resource(max_entries=16, show_spinner=False)
def _read(digest: str, _data: bytes) -> Picture:
    del digest  # the cache's key
    return read_picture(_data)


# --- the pipeline --------------------------------------------------------------------------------------------------


def _pipeline(loaded: LoadedRun, visit: Visit, picture: Picture) -> None:
    """The verdict, the steps with what can be chosen of them, and the rest. The pictures of the steps are sent last."""
    shape, head = loaded.data.image_shape, st.container()
    with st.container(border=True):
        st.markdown("**From the picture to the model's input**")
        adjustments = _adjustments(shape[0])
        prepared = prepare(picture, shape, adjustments)
        place = st.container()
        pixels = prepared.pixels
        if st.toggle("Edit with a brush", key="edit", help="Draw on the model's input; it answers at every stroke's end."):
            pixels = sketch(pixels, key=f"edit-{visit.instance}")
    _result(loaded, visit, loaded.subject_from_outside(pixels), prepared, head)
    with place:
        _steps(prepared)


def _steps(prepared: Prepared) -> None:
    for start in range(0, len(prepared.steps), 4):
        for column, step in zip(st.columns(4), prepared.steps[start : start + 4], strict=False):
            number = prepared.steps.index(step) + 1
            caption = f"{number}. {step.name}. {step.note}"
            column.image(_shown(step.image), caption=caption, alt=f"Step {number}: {step.name}")


def _adjustments(channels: int) -> Adjustments:
    """The visitor's choices. They belong to the kind of model: a grey one begins with other defaults than a colour one."""
    first = default_adjustments(channels)
    prefix = f"adjust-{channels}"
    with st.container(horizontal=True, vertical_alignment="bottom"):
        turns = st.selectbox(
            "Turn", range(4), index=first.turns, format_func=TURNS.__getitem__, key=f"{prefix}-turns", width=170
        )
        invert = st.selectbox(
            "Invert",
            list(INVERT),
            index=list(INVERT).index(first.invert),
            format_func=INVERT.__getitem__,
            key=f"{prefix}-invert",
            help="Automatic: light and dark are swapped where the border is bright.",
            width=140,
        )
        flip = st.checkbox("Mirror", first.flip, key=f"{prefix}-flip")
        clear = st.checkbox(
            "Clear the background", first.clear, key=f"{prefix}-clear", help="Make a dark, even background black."
        )
        crop = st.checkbox("Crop to content", first.crop, key=f"{prefix}-crop")
        pad = st.checkbox("Pad", first.pad, key=f"{prefix}-pad", help="Keep the proportions; otherwise the image is stretched.")
        margin = st.slider("Margin", 0, 50, int(first.margin * 100), format="%d %%", key=f"{prefix}-margin", width=170)
    return Adjustments(turns, flip, invert, clear, crop, margin / 100, pad)


def _shown(image: np.ndarray) -> bytes:
    """A PNG of a step: large images made smaller, small ones enlarged with square pixels."""
    if max(image.shape[:2]) > STEP_SIDE:
        small = Image.fromarray(image)
        small.thumbnail((STEP_SIDE, STEP_SIDE))
        image = np.asarray(small)
    return to_png(image, scale=max(1, 200 // max(image.shape[:2])))


# --- what the model makes of it ------------------------------------------------------------------------------------


def _result(
    loaded: LoadedRun, visit: Visit, subject: Subject, prepared: Prepared | None, head: DeltaGenerator | None = None
) -> None:
    """The verdict, at the ``head`` if there is one, and all that it rests on."""
    st.markdown("**What the model makes of it**")
    judge = load_judge(loaded)
    try:
        examined = None if isinstance(judge, str) else judge.examine(loaded, subject.pixels)
    except SignalError as error:
        st.error(str(error))
        return
    if examined is not None:
        with head or st.container():
            show_sentence(examined.verdict, subject.pixels)
    _pictures(loaded, visit, subject, prepared)
    if isinstance(judge, str) or examined is None:
        st.warning(plain(str(judge)))
        return
    show_signals(examined.verdict)
    show_uncertainty(loaded, examined)
    left, right = st.columns([58, 42])
    with left:
        show_cloud(loaded, visit, examined)
    with right:
        show_nearest(judge, examined)
    match_panel(loaded, judge, examined, subject.pixels)


def _pictures(loaded: LoadedRun, visit: Visit, subject: Subject, prepared: Prepared | None) -> None:
    """Input, reconstruction and error, the ELBO, and ways onward."""
    pixels = subject.pixels
    choice = st.segmented_control(
        "Reconstruct from the",
        ["mean", "sample"],
        format_func={"mean": "Posterior mean", "sample": "Posterior sample"}.__getitem__,
        default="mean",
        required=True,
        key="reconstruct-as",
        help="The mean of q(z|x), or a sample of it.",
    )
    z, told = _point(loaded, subject, sample=choice == "sample")
    decoded = to_uint8(loaded.decode(z[None])[0])
    apart = difference(pixels, decoded)
    columns = st.columns([1, 1, 1, 1.3])
    error = heat(apart.mean(axis=0, dtype=np.float32), 255)
    scale = "black 0, pale yellow 255 (of 255" + (", mean of the channels)" if len(pixels) > 1 else ")")
    shown = (
        ("Input", pixels, "what the model reads"),
        ("Reconstruction", decoded, f"decoded from {told}"),
        ("|Difference|", error, f"mean {apart.mean():.1f}; {scale}"),
    )
    for column, (title, image, caption) in zip(columns, shown, strict=False):
        column.image(enlarged(image), caption=f"{title}: {caption}", width="stretch", alt=title)
    with columns[3]:
        _terms(loaded, subject)
        if st.button("Open in Explore", icon=":material/scatter_plot:"):
            if subject.row is None:
                visit.show(subject)
            else:
                visit.select(subject.row)
            if choice == "sample":
                visit.go(z, "posterior")
            st.switch_page("views/explore.py")
        images = {"input": pixels, "reconstruction": decoded, "difference": apart}
        offer_downloads(visit.run, subject, z, images, None if prepared is None else lambda: _files(prepared))


def _files(prepared: Prepared) -> dict[str, bytes]:
    return {f"{number} {step.name}": to_png(step.image) for number, step in enumerate(prepared.steps, 1)}


def _point(loaded: LoadedRun, subject: Subject, sample: bool) -> tuple[np.ndarray, str]:
    if not sample:
        return subject.mean, "the posterior mean"

    def another() -> None:
        st.session_state["sample-number"] = st.session_state.get("sample-number", 0) + 1

    st.button("Another sample", on_click=another, icon=":material/casino:")
    number = st.session_state.get("sample-number", 0)
    noise = np.asarray(sample_prior(1, loaded.latent, generator_for(number, "view")))[0]
    return subject.mean + np.exp(subject.logvar / 2) * noise, f"posterior sample {number + 1}"


def _terms(loaded: LoadedRun, subject: Subject) -> None:
    test = -loaded.encodings.elbo
    value = subject.kl - subject.reconstruction
    st.metric("−ELBO, nats (one sample of z; lower is better)", f"{value:.1f}")
    st.markdown(f"= reconstruction **{-subject.reconstruction:.1f}** + KL **{subject.kl:.1f}**")
    st.caption(
        f"reconstruction is −log p(x|z) summed over pixels; KL is from q(z|x) to the prior. The test images have "
        f"{test.mean():.0f} on average, 90 % of them between {np.quantile(test, 0.05):.0f} and {np.quantile(test, 0.95):.0f}."
    )


if __name__ == "__main__":
    page()
