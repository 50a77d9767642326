// What the server sent, taken apart without copying the frames. The counterpart of wire.py.

const ARRAY_TYPES = { f4: Float32Array, u1: Uint8Array };

function unpack(message) {
  // The bytes arrive somewhere inside a larger buffer; numbers of four bytes must start at a multiple of four.
  const bytes = message.byteOffset % 4 ? message.slice() : message;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const start = 4 + view.getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, start)));
  const arrays = {};
  for (const [name, [type, offset, length]] of Object.entries(header.arrays)) {
    arrays[name] = new ARRAY_TYPES[type](bytes.buffer, bytes.byteOffset + start + offset, length);
  }
  return new Strips(header, arrays);
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
