// The points in space, drawn by plotly.js: one trace a class, and one for the image that is looked at.

const SYMBOLS_3D = ["circle", "diamond", "square", "cross", "x", "circle-open"];
const FIRST_EYE = { x: 1.2, y: 1.2, z: 0.8 };
const ZOOM_LIMITS = [0.2, 6];
const STEEPEST = 1.45; // of the eye above or below, in radians: beyond, up and down would change places

class Scene {
  constructor(element, plotly, handlers) {
    Object.assign(this, { element, plotly, ...handlers });
  }

  async draw(xyz, groups, { size, theme, camera, current }) {
    Object.assign(this, { xyz, groups, current });
    const count = xyz.length / 3;
    const marker = { size: 0.7 * markerSize(count), opacity: markerOpacity(count), line: { width: 0 } };
    const axis = (i) => (row) => xyz[3 * row + i];
    const traces = groups.map((group) => ({
      type: "scatter3d",
      mode: "markers",
      ...Object.fromEntries(["x", "y", "z"].map((name, i) => [name, Float32Array.from(group.rows, axis(i))])),
      marker: { ...marker, color: group.colour, symbol: group.symbol },
      visible: !group.hidden,
      hoverinfo: "none", // the events come all the same; the card is drawn by us
    }));
    const layout = {
      ...{ ...size, margin: { l: 0, r: 0, t: 0, b: 0 }, paper_bgcolor: "rgba(0,0,0,0)", showlegend: false },
      scene: { ...this.axes(theme), aspectmode: "data", dragmode: "turntable", camera: camera ?? { eye: FIRST_EYE } },
    };
    await this.plotly.newPlot(this.element, [...traces, this.ring(theme)], layout, {
      displayModeBar: false,
      scrollZoom: true,
      doubleClick: false,
    });
    this.element.on("plotly_hover", ({ points }) => this.onHover(this.rowOf(points[0])));
    this.element.on("plotly_unhover", () => this.onHover(null));
    this.element.on("plotly_relayout", () => this.onCamera(this.camera));
    this.element.on("plotly_webglcontextlost", () => this.onLost());
    this.onCamera(this.camera);
  }

  rowOf({ curveNumber, pointNumber }) {
    return curveNumber < this.groups.length ? this.groups[curveNumber].rows[pointNumber] : this.current;
  }

  /** The edges of a box, so that one sees how it is turned; no numbers, because a map's axes mean nothing. */
  axes(theme) {
    const bare = { showgrid: false, zeroline: false, showticklabels: false, showbackground: false, showspikes: false };
    const axis = { ...bare, ticks: "", title: { text: "" }, showline: true, mirror: true, linecolor: theme.text, linewidth: 0.5 };
    return { xaxis: axis, yaxis: axis, zaxis: axis };
  }

  /** A trace of one point, or of none. */
  ring(theme) {
    const at = this.current === null ? [] : [0, 1, 2].map((i) => [this.xyz[3 * this.current + i]]);
    const [x = [], y = [], z = []] = at;
    const marker = { symbol: "circle-open", size: 14, color: theme.text, line: { width: 4, color: theme.text } };
    return { type: "scatter3d", mode: "markers", x, y, z, marker, hoverinfo: "none" };
  }

  mark(row, theme) {
    this.current = row;
    const { x, y, z, marker } = this.ring(theme);
    const changes = { x: [x], y: [y], z: [z], "marker.color": marker.color, "marker.line.color": marker.color };
    return this.plotly.restyle(this.element, changes, [this.groups.length]);
  }

  /** Colours that follow the page's theme. */
  retheme(theme) {
    this.mark(this.current, theme);
    const lines = ["xaxis", "yaxis", "zaxis"].map((name) => [`scene.${name}.linecolor`, theme.text]);
    return this.plotly.relayout(this.element, Object.fromEntries(lines));
  }

  setHidden(hidden) {
    return this.plotly.restyle(this.element, { visible: hidden.map((is) => !is) }, [...hidden.keys()]);
  }

  resize(size) {
    return this.plotly.relayout(this.element, size);
  }

  get camera() {
    return this.element._fullLayout.scene._scene?.getCamera() ?? this.element.layout.scene.camera;
  }

  /** Turn by angles in radians around the middle, and change the distance by a factor. */
  turn(sideways, upwards, factor = 1) {
    const camera = this.camera;
    const { x, y, z } = camera.eye;
    const distance = Math.hypot(x, y, z);
    const around = Math.atan2(y, x) + sideways;
    const steep = Math.max(-STEEPEST, Math.min(STEEPEST, Math.asin(z / distance) + upwards));
    const far = Math.max(ZOOM_LIMITS[0], Math.min(ZOOM_LIMITS[1], distance * factor));
    const flat = far * Math.cos(steep);
    return this.look({ ...camera, eye: { x: flat * Math.cos(around), y: flat * Math.sin(around), z: far * Math.sin(steep) } });
  }

  look(camera) {
    return this.plotly.relayout(this.element, { "scene.camera": camera });
  }

  reset() {
    return this.look({ eye: FIRST_EYE, up: { x: 0, y: 0, z: 1 }, center: { x: 0, y: 0, z: 0 } });
  }

  remove() {
    const contexts = [...this.element.querySelectorAll("canvas")].map((canvas) => canvas.getContext("webgl")).filter(Boolean);
    this.plotly.purge(this.element);
    contexts.forEach(release);
  }
}
