// The entry: what the person does, what the server sends, what is drawn. During a drag nothing leaves the browser.

const LATE = "Server slow or gone (no answer for 3 s). The pictures at hand go on.";
const LATE_MORE = "Until it answers, a picture shows one moved dimension at a time. What you set goes out when it does.";

class LatentSliders {
  constructor(parent) {
    this.drag = null;
    this.lastMoved = null;
    this.view = new View(parent, {
      onAction: (name) => this.act(name),
      onFold: (name, open) => this.fold(open),
      sliderEvents: (dimension) => ({
        start: () => this.start(dimension),
        move: (value) => this.move(dimension, value),
        end: () => this.end(dimension),
        home: () => this.home(dimension),
      }),
    });
    this.commits = new Commits({
      send: (commit) => this.send({ ...commit, generation: this.strips.generation, unfolded: this.view.unfolded() }),
      isDragging: () => this.drag !== null,
      onLate: () => {
        this.view.setNote(LATE, LATE_MORE);
        this.show();
      },
    });
    this.listeners = new AbortController();
    const listen = (name, call) => document.addEventListener(name, call, { signal: this.listeners.signal, capture: true });
    listen("keydown", (event) => this.press(event));
    listen("latent:hover", (event) => this.hover(event.detail));
    listen("latent:select", (event) => this.select(event.detail));
    stayClear(parent);
    this.widths = new ResizeObserver(() => this.drawThumbnails());
    this.widths.observe(this.view.root);
  }

  destroy() {
    this.commits.reset();
    this.listeners.abort();
    this.widths.disconnect();
    cancelAnimationFrame(this.thumbnailsLater);
    if (this.strips) this.preview([null, null]);
    this.view.root.remove();
  }

  // --- from the server -------------------------------------------------------------------------------------------

  receive(strips) {
    const old = this.strips;
    const isNew = !old || old.run !== strips.run || old.instance !== strips.instance;
    if (!isNew && strips.generation <= old.generation) {
      // An older set that comes late is dropped. The same one again means another theme.
      if (strips.generation === old.generation) this.redraw();
      return;
    }
    this.strips = strips;
    if (isNew) this.begin(old);
    else this.commits.answered(strips.answers, strips.z);
    this.selected = null;
    this.small = null;
    this.view.setNote("", "");
    this.view.enable("undo", strips.canUndo);
    this.view.enable("redo", strips.canRedo);
    this.view.enable("reset", Boolean(strips.encoded));
    this.view.enable("posterior", Boolean(strips.encoded));
    const strongest = Math.max(1e-9, ...strips.kl);
    for (const slider of this.view.sliders.values()) slider.setStrips(strips, strongest);
    if (this.drag?.moved) this.drag.value = this.snap(this.drag.dimension, this.drag.value);
    this.redraw();
    this.commits.pump();
  }

  // Another model, or another session: nothing of the old one holds.
  begin(old) {
    if (old) this.preview([null, null], old);
    this.commits.reset();
    this.drag = null;
    this.view.makeSliders(this.strips);
    for (const name of Object.keys(this.view.groups)) {
      if (name !== "first") this.view.setFold(name, this.strips.groups[name].some((one) => this.strips.has(one)));
    }
    const kept = window.__latent?.[this.strips.instance]?.["latent:hover"];
    this.hovered = kept && this.isOurs(kept) && kept.image ? kept : null;
  }

  // --- what is drawn ---------------------------------------------------------------------------------------------

  redraw() {
    this.colours = differenceColours(this.view.ground());
    this.setValues();
    this.showOriginal();
    this.show();
    cancelAnimationFrame(this.thumbnailsLater);
    this.thumbnailsLater = requestAnimationFrame(() => this.drawThumbnails());
  }

  drawThumbnails() {
    if (this.strips) this.view.visibleSliders().forEach((slider) => slider.drawThumbnails());
  }

  setValues() {
    const changes = this.commits.changes();
    if (this.drag) changes.set(this.drag.dimension, this.drag.value);
    for (const [dimension, slider] of this.view.sliders) slider.setValue(changes.get(dimension) ?? this.strips.z[dimension]);
  }

  // Shows the point where the sliders stand, if the strips at hand have it; else the picture is held, marked pending.
  show() {
    const { strips, commits, drag } = this;
    if (!strips) return;
    const changes = commits.changes();
    const dimension = drag?.moved ? drag.dimension : changes.has(this.lastMoved) ? this.lastMoved : null;
    const isExact = !commits.isUnknown() && [...changes.keys()].every((one) => one === dimension);
    const isAtHand = dimension === null || strips.has(dimension);
    if (!isAtHand || !(isExact || (commits.late && dimension !== null))) {
      this.view.setPending(true);
      return;
    }
    this.view.setPending(false);
    const value = drag?.moved ? drag.value : changes.get(dimension);
    this.draw(dimension === null ? strips.current() : strips.step(dimension, strips.nearest(dimension, value)));
  }

  draw(frame) {
    this.view.pictures.decoded.draw(frame.pixels, frame.shape);
    this.drawDifference(frame);
    this.view.setMeter(frame.percentile);
    this.preview(frame.position);
  }

  drawDifference({ pixels, shape }) {
    const { strips, view } = this;
    if (!strips.original || this.selected) {
      view.pictures.difference.clear();
      view.setCaption("difference", "Difference");
      return;
    }
    let { original } = strips;
    if (shape.size !== strips.imageShape.size) {
      this.small ??= shrink(original, strips.imageShape, shape);
      original = this.small;
    }
    const mean = drawDifference(view.pictures.difference, pixels, original, shape, this.colours);
    view.setCaption("difference", `Difference ${mean.toFixed(1)}/255`);
  }

  // The image under the pointer on the map, else the one just clicked there, else the server's. Without a picture of the one
  // that was clicked, none: another's would stand under its name.
  showOriginal() {
    const { strips, view } = this;
    const shown = this.hovered ?? this.selected;
    const picture = view.pictures.original;
    picture.canvas.parentElement.classList.toggle("preview", Boolean(this.hovered));
    if (shown?.image) picture.drawSource(shown.image);
    else if (!shown && strips.original) picture.draw(strips.original, strips.imageShape);
    else picture.clear();
    const name = shown ? [`image ${shown.row}`, shown.label].filter(Boolean).join(", ") : strips.subject;
    view.setCaption("original", this.hovered ? `Preview: ${name}` : `Original: ${name}`);
  }

  // --- what the person does --------------------------------------------------------------------------------------

  // The step of the strip that is nearest to a value.
  snap(dimension, value) {
    const { strips } = this;
    return strips.has(dimension) ? strips.stepsOf(dimension)[strips.nearest(dimension, value)] : value;
  }

  start(dimension) {
    if (this.drag?.dimension !== dimension) this.end(this.drag?.dimension);
    this.drag ??= { dimension, value: Number(this.view.sliders.get(dimension).input.value), moved: false };
  }

  move(dimension, value) {
    this.start(dimension);
    const { drag } = this;
    const snapped = this.snap(dimension, value);
    const isSame = drag.moved && drag.value === snapped;
    Object.assign(drag, { value: snapped, moved: true });
    this.lastMoved = dimension;
    this.view.sliders.get(dimension).setValue(snapped);
    if (!isSame) this.show();
  }

  end(dimension) {
    const { drag } = this;
    if (!drag || drag.dimension !== dimension) return;
    this.drag = null;
    const before = this.commits.changes().get(dimension) ?? this.strips.z[dimension];
    if (drag.moved && drag.value !== before) this.commits.push("drag", [[dimension, drag.value]]);
    else this.commits.pump();
    this.show();
  }

  // Back to the encoded value: exactly, even where it shares its step with another.
  home(dimension) {
    if (!this.strips.encoded) return;
    this.move(dimension, this.strips.encoded[dimension]);
    this.drag.value = this.strips.encoded[dimension];
    this.view.sliders.get(dimension).setValue(this.drag.value);
    this.end(dimension);
  }

  act(name) {
    this.commits.push(name);
    this.show();
  }

  fold(open) {
    if (open && !this.view.visibleSliders().every((slider) => this.strips.has(slider.dimension))) this.commits.push("unfold");
    this.drawThumbnails();
  }

  press(event) {
    const action = { r: "reset", s: "posterior" }[event.key];
    if (!action || event.repeat || event.ctrlKey || event.metaKey || event.altKey || isTyping(event)) return;
    event.stopPropagation(); // the page around has a meaning for R of its own: run everything again
    this.view.buttons[action].click();
  }

  // --- from and to the map ---------------------------------------------------------------------------------------

  isOurs(detail) {
    return this.strips && detail?.instance === this.strips.instance && detail.run === this.strips.run;
  }

  hover(detail) {
    if (!this.isOurs(detail)) return;
    this.hovered = detail.image ? detail : null; // a map of very many images has no pictures at hand
    this.showOriginal();
  }

  select(detail) {
    if (!this.isOurs(detail) || detail.row === null || detail.row === this.strips.row) return;
    this.hovered = null;
    this.selected = detail;
    this.commits.awaitOther();
    this.setValues();
    this.showOriginal();
    this.show();
  }

  preview(position, strips = this.strips) {
    announcePreview(strips, position);
  }
}

function isTyping(event) {
  const [target] = event.composedPath();
  if (!(target instanceof Element)) return false;
  const isText = target.matches("input:not([type=range], [type=checkbox], [type=radio], [type=button])");
  return isText || target.matches("textarea, select") || target.isContentEditable;
}

export default mounting(LatentSliders, (sliders, { data, setStateValue }) => {
  sliders.send = (commit) => setStateValue("commit", commit);
  sliders.receive(unpack(data));
});
