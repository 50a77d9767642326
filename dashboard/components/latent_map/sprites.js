// The small pictures of all images: compressed tiles, unpacked in the background, the asked-for tile first.

const NO_THUMBNAILS = "too many for thumbnails: click to see it";

class Sprites {
  constructor(head, body) {
    Object.assign(this, head);
    this.size = this.channels * this.height * this.width;
    this.tiles = [];
    this.pending = [];
    let start = 0;
    this.packed = head.sizes.map((size) => body.subarray(start, (start += size)));
    this.levels = Uint8ClampedArray.from({ length: 2 ** this.bits }, (_, level) => (level * 255) / (2 ** this.bits - 1));
  }

  /** Whether there are none: so many images that what could be sent of each would not be recognised. */
  get isEmpty() {
    return !this.packed.length;
  }

  isLoaded(row) {
    return this.isEmpty || Boolean(this.tiles[Math.floor(row / this.perTile)]);
  }

  /** Unpack the tile that holds a row, if that isn't done; resolves when it is. */
  load(row) {
    const tile = Math.floor(row / this.perTile);
    return (this.pending[tile] ??= this.unpack(tile));
  }

  async unpack(tile) {
    const stream = new Blob([this.packed[tile]]).stream().pipeThrough(new DecompressionStream("deflate"));
    this.tiles[tile] = new Uint8Array(await new Response(stream).arrayBuffer());
    this.packed[tile] = null;
  }

  async loadAll() {
    for (let tile = 0; tile < this.packed.length; tile++) await this.load(tile * this.perTile);
  }

  /** The picture of a row as ImageData, or null while its tile is packed. */
  image(row) {
    const tile = this.tiles[Math.floor(row / this.perTile)];
    if (!tile) return null;
    const picture = new ImageData(this.width, this.height);
    const area = this.width * this.height;
    const start = (row % this.perTile) * this.size;
    const [green, blue] = this.channels === 3 ? [area, 2 * area] : [0, 0];
    for (let i = 0; i < area; i++) {
      picture.data[4 * i] = this.levels[tile[start + i]];
      picture.data[4 * i + 1] = this.levels[tile[start + green + i]];
      picture.data[4 * i + 2] = this.levels[tile[start + blue + i]];
      picture.data[4 * i + 3] = 255;
    }
    return picture;
  }
}
