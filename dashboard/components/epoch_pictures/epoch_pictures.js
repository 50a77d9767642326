// A slider over epochs: rows of pictures that follow it. All of them are here, so nothing is asked of the server.

const PLAY_MS = 5000; // all epochs
const LEAST_MS = 60;

class EpochPictures {
  constructor(parent) {
    this.input = element("input", { type: "range", min: 0, step: 1, "aria-label": "Epoch" });
    this.play = element("button", { type: "button" }, "Play");
    this.where = element("p", { class: "where" });
    this.rows = ["Validation images", "Reconstructed, decoded from the posterior mean", "Samples of the prior, decoded"].map(
      (title) => {
        const canvas = element("canvas", { role: "img", "aria-label": title, width: 1, height: 1 });
        const figure = element("figure", {}, element("figcaption", {}, title), canvas);
        return { figure, picture: new Picture(canvas) };
      },
    );
    const bar = element("div", { class: "bar" }, this.play, this.input);
    const rows = element("div", { class: "rows" }, ...this.rows.map(({ figure }) => figure));
    this.root = element("div", { class: "epoch-pictures" }, this.where, bar, rows);
    parent.append(this.root);
    stayClear(parent);
    this.input.addEventListener("pointerdown", () => this.pause());
    this.input.addEventListener("input", () => this.move(Number(this.input.value)));
    this.play.addEventListener("click", () => (this.timer ? this.pause() : this.start()));
  }

  receive(message) {
    this.all = message;
    // What outlives a remount, and a training that goes on: where the slider stands, or that it stands at the end.
    const kept = (window.__epochPictures ??= {});
    this.memory = kept[message.run] ??= { epoch: null };
    this.input.max = message.epochs.length - 1;
    this.input.disabled = message.epochs.length < 2;
    this.play.hidden = message.epochs.length < 2;
    this.rows[0].figure.hidden = message.counts[0] === 0;
    this.draw(0, message.originals, 0, message.counts[0]);
    const at = message.epochs.findIndex((epoch) => epoch >= this.memory.epoch);
    this.show(this.memory.epoch === null || at < 0 ? message.epochs.length - 1 : at);
  }

  move(index) {
    this.memory.epoch = index === this.all.epochs.length - 1 ? null : this.all.epochs[index];
    this.show(index);
  }

  show(index) {
    const { epochs, captions, counts, reconstructions, samples } = this.all;
    this.input.value = index;
    this.where.textContent = captions[index];
    this.input.setAttribute("aria-valuetext", captions[index]);
    this.root.dataset.epoch = epochs[index];
    this.draw(1, reconstructions, index, counts[1]);
    this.draw(2, samples, index, counts[2]);
  }

  // The pictures of one epoch, side by side.
  draw(row, pixels, index, count) {
    if (!count) return;
    const shape = this.all.previewShape;
    const { picture } = this.rows[row];
    const image = picture.buffer({ width: count * shape.width, height: shape.height });
    for (let place = 0; place < count; place += 1) {
      const start = (index * count + place) * shape.size;
      writePixels(image.data, place * shape.width, image.width, pixels.subarray(start, start + shape.size), shape);
    }
    picture.context.putImageData(image, 0, 0);
  }

  start() {
    const last = this.all.epochs.length - 1;
    if (Number(this.input.value) === last) this.move(0);
    this.play.textContent = "Pause";
    this.timer = setInterval(() => {
      const next = Number(this.input.value) + 1;
      if (next > this.all.epochs.length - 1) return this.pause();
      return this.move(next);
    }, Math.max(LEAST_MS, PLAY_MS / (last + 1)));
  }

  pause() {
    clearInterval(this.timer);
    this.timer = null;
    this.play.textContent = "Play";
  }

  destroy() {
    this.pause();
    this.root.remove();
  }
}

const mounted = new WeakMap();

export default function ({ data, parentElement }) {
  let pictures = mounted.get(parentElement);
  if (!pictures) {
    pictures = new EpochPictures(parentElement);
    mounted.set(parentElement, pictures);
  }
  pictures.receive(unpack(data));
  return () => {
    pictures.destroy();
    mounted.delete(parentElement);
  };
}
