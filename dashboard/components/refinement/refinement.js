// A refinement: its curves, and the reconstructions at one step. While it runs the last step is shown; once it is done every
// step is here, and a slider goes through them.

const PLAY_MS = 4000; // the whole of it

class RefinementView {
  constructor(parent) {
    this.curve = new Curve();
    this.close = element("input", { type: "checkbox" });
    const zoom = element("label", { class: "zoom" }, this.close, "Close-up of the encoder's curve");
    this.legend = element("p", { class: "legend" });
    this.player = new Player("Gradient step", (place) => this.move(place), (count) => PLAY_MS / (count - 1));
    this.where = element("p", { class: "where" });
    this.figures = ["Original", "From the encoder", "From the prior"].map((title) => {
      const canvas = element("canvas", { role: "img", "aria-label": title, width: 1, height: 1 });
      const caption = element("figcaption", {}, title);
      return { title, caption, picture: new Picture(canvas), root: element("figure", {}, canvas, caption) };
    });
    const pictures = element("div", { class: "pictures" }, ...this.figures.map(({ root }) => root));
    const left = element("div", {}, this.legend, this.curve.root, zoom);
    this.root = element("div", { class: "refinement player" }, left, element("div", {}, this.where, pictures, this.player.root));
    parent.append(this.root);
    stayClear(parent);
    this.close.addEventListener("change", () => this.drawCurve());
  }

  receive(message) {
    this.all = message;
    // What outlives a remount: where the slider stood on this very refinement.
    const kept = (window.__latentRefinement ??= {});
    if (kept.generation !== message.generation) Object.assign(kept, { generation: message.generation, step: null });
    this.memory = kept;
    const count = message.steps.length;
    this.lines = message.names.map((_, line) => message.elbo.subarray(line * count, (line + 1) * count));
    const isDone = message.steps.at(-1) === message.end && message.pictured.length === count;
    Object.assign(this.root.dataset, { state: isDone ? "done" : "running", points: count });
    this.player.root.style.visibility = isDone ? "visible" : "hidden";
    this.player.input.max = count - 1;
    this.legend.replaceChildren(
      ...message.names.map((name, line) => {
        const swatch = element("i");
        swatch.style.background = message.colours[line];
        return element("span", {}, swatch, name);
      }),
      element("span", {}, element("i", { class: "dotted" }), "the encoder's answer"),
    );
    this.figures[0].picture.draw(message.original, message.imageShape);
    this.step = this.memory.step ?? count - 1;
    this.drawCurve();
  }

  drawCurve() {
    const { steps, end, colours } = this.all;
    this.curve.draw({ steps, end, lines: this.lines, colours, close: this.close.checked });
    this.show(Math.min(this.step, steps.length - 1));
  }

  move(index) {
    this.memory.step = index;
    this.show(index);
  }

  show(index) {
    const { steps, end, draws, pictured, pictures, names, previewShape: shape } = this.all;
    this.step = index;
    const values = this.lines.map((line) => line[index]);
    const words = names.map((name, line) => `ELBO ${name} ${signed(values[line], 1)} nats`).join(", ");
    this.where.textContent = `Step ${steps[index]} of ${end}`;
    this.player.show(index, `step ${steps[index]}: ${words}`);
    this.root.dataset.step = steps[index];
    const place = Math.max(0, pictured.findLastIndex((step) => step <= steps[index]));
    names.forEach((_, line) => {
      const start = (place * names.length + line) * shape.size;
      const { picture, caption, title } = this.figures[line + 1];
      picture.draw(pictures.subarray(start, start + shape.size), shape);
      caption.textContent = `${title}: ELBO ${signed(values[line], 1)} nats (${draws} draws)`;
    });
    this.curve.mark(steps[index], values);
  }

  destroy() {
    this.player.pause();
    this.root.remove();
  }
}

export default mounting(RefinementView, (view, { data }) => view.receive(unpack(data)));
