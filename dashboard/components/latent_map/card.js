// The card beside a point: its picture and what it is.

const CARD_PIXELS = 96;

class Card {
  constructor() {
    this.picture = make("canvas", { width: 1, height: 1 });
    this.text = make("div");
    this.element = make("div", { class: "latent-map-card", "aria-hidden": "true", hidden: true }, this.picture, this.text);
  }

  /** Show something at a place within an area of that size, in pixels; null takes the card away. */
  show(content, size) {
    this.element.hidden = !content;
    if (!content) return;
    const { at, lines, image, none, exact } = content;
    this.text.replaceChildren(...lines.map((line, i) => make(i ? "span" : "b", {}, line)));
    this.picture.hidden = Boolean(none);
    this.picture.dataset.state = image ? "ready" : "waiting";
    if (image) {
      const scale = Math.max(1, Math.floor(CARD_PIXELS / Math.max(image.width, image.height)));
      this.picture.width = image.width;
      this.picture.height = image.height;
      this.picture.style.width = `${image.width * scale}px`;
      this.picture.style.imageRendering = exact ? "pixelated" : "auto";
      this.picture.getContext("2d").putImageData(image, 0, 0);
    }
    const [width, height] = [this.element.offsetWidth, this.element.offsetHeight];
    const x = at[0] + 16 + width > size.width ? at[0] - 16 - width : at[0] + 16;
    const y = Math.max(4, Math.min(size.height - height - 4, at[1] - height / 2));
    this.element.style.transform = `translate(${Math.max(4, x)}px, ${y}px)`;
  }
}
