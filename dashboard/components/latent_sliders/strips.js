// Filmstrips as the browser holds them.

function unpack(message) {
  const { head, body } = readFrame(message);
  return new Strips(head, unpackArrays(head.arrays, body));
}

// One set of filmstrips: what can be shown without asking the server.
class Strips {
  constructor(header, arrays) {
    Object.assign(this, header, arrays);
    this.imageShape = toShape(header.image);
    this.previewShape = toShape(header.preview);
    this.places = new Map(header.dimensions.map((dimension, place) => [dimension, place]));
  }

  has(dimension) {
    return this.places.has(dimension);
  }

  // The rising values of a dimension's steps.
  stepsOf(dimension) {
    const start = this.places.get(dimension) * this.steps;
    return this.values.subarray(start, start + this.steps);
  }

  nearest(dimension, value) {
    const values = this.stepsOf(dimension);
    let best = 0;
    for (let step = 1; step < values.length; step += 1) {
      if (Math.abs(values[step] - value) < Math.abs(values[best] - value)) best = step;
    }
    return best;
  }

  // A step of a dimension: its picture (channel by channel), its place on the map, how far off the manifold it is.
  step(dimension, step) {
    const index = this.places.get(dimension) * this.steps + step;
    const size = this.previewShape.size;
    return {
      pixels: this.frames.subarray(index * size, (index + 1) * size),
      shape: this.previewShape,
      percentile: this.percentiles[index],
      position: this.positions ? [this.positions[2 * index], this.positions[2 * index + 1]] : [null, null],
    };
  }

  // The current point: one of the steps of every strip, with its picture in full size.
  current() {
    const dimension = this.dimensions[0];
    const found = this.step(dimension, this.nearest(dimension, this.z[dimension]));
    return this.settled ? { ...found, pixels: this.settled, shape: this.imageShape } : found;
  }
}

function toShape([channels, height, width]) {
  return { channels, height, width, size: channels * height * width };
}
