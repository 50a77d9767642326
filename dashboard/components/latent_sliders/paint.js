// Pixels onto canvases. Images are bytes, channel by channel; three channels or more are shown as colours.

// Writes an image as RGBA; `target` is an ImageData's pixels, from `start` on, with rows `stride` pixels apart.
function writePixels(target, start, stride, pixels, shape) {
  const { channels, height, width } = shape;
  const plane = height * width;
  const [green, blue] = channels < 3 ? [0, 0] : [plane, 2 * plane];
  for (let row = 0, from = 0; row < height; row += 1) {
    for (let to = 4 * (start + row * stride), end = to + 4 * width; to < end; to += 4, from += 1) {
      target[to] = pixels[from];
      target[to + 1] = pixels[from + green];
      target[to + 2] = pixels[from + blue];
      target[to + 3] = 255;
    }
  }
}

function resize(canvas, width, height) {
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
}

// A canvas that shows one image after another.
class Picture {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
  }

  // The memory of the last drawing is used again, as long as the size stays.
  buffer({ width, height }) {
    if (!this.image || this.image.width !== width || this.image.height !== height) {
      this.image = this.context.createImageData(width, height);
    }
    resize(this.canvas, width, height);
    return this.image;
  }

  draw(pixels, shape) {
    const image = this.buffer(shape);
    writePixels(image.data, 0, shape.width, pixels, shape);
    this.context.putImageData(image, 0, 0);
  }

  // An ImageData or another canvas, as it is.
  drawSource(source) {
    resize(this.canvas, source.width, source.height);
    if (source instanceof ImageData) this.context.putImageData(source, 0, 0);
    else this.context.drawImage(source, 0, 0);
  }

  clear() {
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
  }
}

const LIGHTER = [230, 120, 20];
const DARKER = [30, 120, 220];
const FULL_COLOUR = 128;

// The colour of each difference from -255 to 255: the ground where there is none.
function differenceColours(ground) {
  const colours = new Uint8ClampedArray(511 * 3);
  for (let index = 0; index < 511; index += 1) {
    const end = index > 255 ? LIGHTER : DARKER;
    const share = Math.min(1, Math.abs(index - 255) / FULL_COLOUR);
    for (let part = 0; part < 3; part += 1) colours[3 * index + part] = ground[part] + share * (end[part] - ground[part]);
  }
  return colours;
}

// Draws where the decoded image is lighter or darker than the original: the largest difference of the channels, with the
// sign of their sum. Returns the mean absolute difference of all values, from 0 to 255.
function drawDifference(picture, decoded, original, shape, colours) {
  const image = picture.buffer(shape);
  const plane = shape.width * shape.height;
  let total = 0;
  for (let at = 0; at < plane; at += 1) {
    let largest = 0;
    let sum = 0;
    for (let from = at; from < shape.size; from += plane) {
      const apart = decoded[from] - original[from];
      sum += apart;
      total += Math.abs(apart);
      largest = Math.max(largest, Math.abs(apart));
    }
    const colour = 3 * (255 + (sum < 0 ? -largest : largest));
    image.data[4 * at] = colours[colour];
    image.data[4 * at + 1] = colours[colour + 1];
    image.data[4 * at + 2] = colours[colour + 2];
    image.data[4 * at + 3] = 255;
  }
  picture.context.putImageData(image, 0, 0);
  return total / shape.size;
}

// An image with squares of pixels averaged into one, as the server makes its previews.
function shrink(pixels, shape, small) {
  if (shape.size === small.size) return pixels;
  const block = Math.ceil(shape.height / small.height) || 1;
  const result = new Uint8Array(small.size);
  for (let index = 0; index < small.size; index += 1) {
    const channel = Math.floor(index / (small.width * small.height));
    const top = block * (Math.floor(index / small.width) % small.height);
    const left = block * (index % small.width);
    let sum = 0;
    let count = 0;
    for (let y = top; y < Math.min(top + block, shape.height); y += 1) {
      for (let x = left; x < Math.min(left + block, shape.width); x += 1, count += 1) {
        sum += pixels[(channel * shape.height + y) * shape.width + x];
      }
    }
    result[index] = Math.round(sum / count);
  }
  return result;
}

// Thumbnails side by side, each of the step that its middle stands for.
function drawThumbnails(canvas, strips, dimension, count, stepAt) {
  const shape = strips.previewShape;
  resize(canvas, count * shape.width, shape.height);
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  for (let index = 0; index < count; index += 1) {
    const { pixels } = strips.step(dimension, stepAt((index + 0.5) / count));
    writePixels(image.data, index * shape.width, canvas.width, pixels, shape);
  }
  context.putImageData(image, 0, 0);
}
