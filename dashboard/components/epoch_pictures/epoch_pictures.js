// A slider over epochs: rows of pictures that follow it. All of them are here, so nothing is asked of the server.

const PLAY_MS = 5000; // all epochs
const LEAST_MS = 60;

class EpochPictures {
  constructor(parent) {
    this.player = new Player("Epoch", (place) => this.move(place), (count) => Math.max(LEAST_MS, PLAY_MS / count));
    this.where = element("p", { class: "where" });
    this.rows = ["Validation images", "Reconstructed, decoded from the posterior mean", "Samples of the prior, decoded"].map(
      (title) => {
        const canvas = element("canvas", { role: "img", "aria-label": title, width: 1, height: 1 });
        const figure = element("figure", {}, element("figcaption", {}, title), canvas);
        return { figure, picture: new Picture(canvas) };
      },
    );
    const rows = element("div", { class: "rows" }, ...this.rows.map(({ figure }) => figure));
    this.root = element("div", { class: "epoch-pictures player" }, this.where, this.player.root, rows);
    parent.append(this.root);
    stayClear(parent);
  }

  receive(message) {
    this.all = message;
    // What outlives a remount, and a training that goes on: where the slider stands, or that it stands at the end.
    const kept = (window.__epochPictures ??= {});
    this.memory = kept[message.run] ??= { epoch: null };
    this.player.input.max = message.epochs.length - 1;
    this.player.input.disabled = message.epochs.length < 2;
    this.player.button.hidden = message.epochs.length < 2;
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
    this.player.show(index, captions[index]);
    this.where.textContent = captions[index];
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

  destroy() {
    this.player.pause();
    this.root.remove();
  }
}

export default mounting(EpochPictures, (pictures, { data }) => pictures.receive(unpack(data)));
