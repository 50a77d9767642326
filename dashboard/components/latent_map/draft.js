// The points until plotly.js is there, whose start takes up to a second: the same places, colours and shapes on a plain
// canvas, so that the map is seen and answers as soon as its points are known. It is a `Painted` figure.

class Draft extends Painted {
  constructor(host) {
    super(host, "latent-map-draft");
  }

  draw(xy, groups, ranges, size) {
    Object.assign(this, { xy, groups, ranges, size });
    this.mask(groups.map((group) => group.hidden));
    this.setColours(groups, null);
  }

  /** Colour by numbers, or by class where there are none. */
  setColours(groups, colouring, scale) {
    this.colourOf = colouring ? (row) => scale[scaleStep(colouring, colouring.values[row])] : null;
    this.paint();
  }

  paint() {
    const stamp = stamper(this.canvas, this.ranges, this.size, this.xy.length / 2);
    this.groups.forEach((group, i) => {
      if (this.hidden[i]) return;
      for (const row of group.rows) {
        stamp(this.xy[2 * row], this.xy[2 * row + 1], this.colourOf?.(row) ?? group.colour, group.symbol);
      }
    });
  }
}
