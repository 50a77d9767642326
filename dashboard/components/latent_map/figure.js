// The points themselves, drawn by plotly.js: a WebGL scatter plot, one trace a class. What moves lies above it (marks.js).

const MOST_SVG_POINTS = 5000;

const REST_MS = 700; // what else the page has for a map, its sliders' strips, comes this soon after it, or there is none

/** Load plotly.js once for the page, whichever map asks first. It is fetched at once and started after the `rest` of the page
    has come: where a browser sees it for the first time, its start keeps everything waiting for a second. */
function loadPlotly(address, rest = () => Promise.resolve()) {
  if (window.Plotly?.newPlot) return Promise.resolve(window.Plotly);
  window.__latentPlotly ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = new URL(address, document.baseURI).href;
    document.head.append(make("link", { rel: "preload", as: "script", href: script.src }));
    const fail = () => {
      window.__latentPlotly = undefined;
      script.remove();
      reject(new Error(`The drawing library could not be loaded from ${script.src}. Are static files switched on?`));
    };
    script.onerror = fail;
    script.onload = () => (window.Plotly ? resolve(window.Plotly) : fail()); // a server may answer with a page instead
    rest().then(() => document.head.append(script));
  });
  return window.__latentPlotly;
}

/** When the sliders of that instance are seen, or it is clear that there are none. */
function restOfPage(instance) {
  if (window.__latent?.[instance]?.["latent:preview"]) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(patience);
      document.removeEventListener("latent:preview", hear);
      requestAnimationFrame(() => setTimeout(resolve)); // once they are painted
    };
    const hear = ({ detail }) => detail.instance === instance && done();
    const patience = setTimeout(done, REST_MS);
    document.addEventListener("latent:preview", hear);
  });
}

/** Give a WebGL context back: a browser grants only a few. */
const release = (context) => context?.getExtension("WEBGL_lose_context")?.loseContext();

function hasWebGL() {
  try {
    const context = document.createElement("canvas").getContext("webgl");
    release(context);
    return Boolean(context);
  } catch {
    return false;
  }
}

/** Fewer points are drawn larger and more solid. */
const markerSize = (count) => Math.max(2.5, Math.min(9, 420 / Math.sqrt(count)));
const markerOpacity = (count) => Math.max(0.45, Math.min(0.9, 0.95 - 0.1 * Math.log10(count / 300)));

class Figure {
  constructor(host, plotly, webgl, onLost) {
    const element = make("div", { class: "latent-map-points" });
    host.append(element);
    Object.assign(this, { element, plotly, webgl, onLost });
  }

  async draw(xy, groups, ranges, size) {
    const count = xy.length / 2;
    this.stride = this.webgl ? 1 : Math.ceil(count / MOST_SVG_POINTS);
    this.drawn = groups.map((group) => group.rows.filter((row) => row % this.stride === 0));
    const drawn = count / this.stride;
    const marker = { size: markerSize(drawn), opacity: markerOpacity(drawn), line: { width: 0 } };
    const traces = groups.map((group, i) => ({
      type: this.webgl ? "scattergl" : "scatter",
      mode: "markers",
      x: Float32Array.from(this.drawn[i], (row) => xy[2 * row]),
      y: Float32Array.from(this.drawn[i], (row) => xy[2 * row + 1]),
      marker: { ...marker, color: group.colour, symbol: group.symbol },
      visible: !group.hidden,
      hoverinfo: "skip",
    }));
    const hidden = groups.map((group) => group.hidden).join();
    const axis = { visible: false, fixedrange: true, autorange: false };
    const clear = "rgba(0,0,0,0)";
    const layout = {
      ...{ ...size, margin: { l: 0, r: 0, t: 0, b: 0 }, paper_bgcolor: clear, plot_bgcolor: clear },
      ...{ showlegend: false, hovermode: false, dragmode: false },
      xaxis: { ...axis, range: ranges.slice(0, 2) },
      yaxis: { ...axis, range: ranges.slice(2) },
    };
    // NOTE: static, because gestures.js answers the pointer: that keeps the view, and what lies above, in one hand.
    await this.plotly.newPlot(this.element, traces, layout, { staticPlot: true, displayModeBar: false });
    this.element.on("plotly_webglcontextlost", () => this.isLost() && this.onLost());
    Object.assign(this, { drawnRanges: ranges, shown: ranges.join(), size, hidden });
  }

  /** Show another part of the map. SVG is too slow for every frame: there the picture is stretched until `settle`. */
  show(ranges, size) {
    if (ranges.join() === this.shown) return;
    this.shown = ranges.join();
    if (this.webgl) this.relayout(ranges, {});
    else this.element.style.transform = stretch(this.drawnRanges, ranges, size);
  }

  settle(ranges) {
    if (!this.webgl) this.relayout(ranges, {});
  }

  resize(ranges, size) {
    if (ranges.join() === this.shown && size.width === this.size.width && size.height === this.size.height) return;
    this.size = size;
    this.shown = ranges.join();
    this.relayout(ranges, size);
  }

  relayout(ranges, size) {
    this.drawnRanges = ranges;
    this.element.style.transform = "";
    const [left, right, bottom, top] = ranges;
    this.plotly.relayout(this.element, { "xaxis.range": [left, right], "yaxis.range": [bottom, top], ...size });
  }

  setHidden(hidden) {
    if (hidden.join() === this.hidden) return;
    this.hidden = hidden.join();
    this.plotly.restyle(this.element, { visible: hidden.map((is) => !is) });
  }

  /** Colour by numbers, or by class where there are none. */
  setColours(groups, colouring, scale) {
    if (!colouring) {
      const colours = groups.map((group) => group.colour);
      this.plotly.restyle(this.element, { "marker.color": colours, "marker.colorscale": null });
      return;
    }
    this.plotly.restyle(this.element, {
      "marker.color": this.drawn.map((rows) => Float32Array.from(rows, (row) => colouring.values[row])),
      "marker.colorscale": [scale.map((colour, i) => [i / (scale.length - 1), colour])],
      "marker.cmin": colouring.low,
      "marker.cmax": colouring.high > colouring.low ? colouring.high : colouring.low + 1,
    });
  }

  contexts() {
    return [...this.element.querySelectorAll("canvas")].map((canvas) => canvas.getContext("webgl")).filter(Boolean);
  }

  /** Whether it was one of ours that got lost: contexts that were given back say so too. */
  isLost() {
    return this.contexts().some((context) => context.isContextLost());
  }

  remove() {
    const contexts = this.contexts();
    this.plotly.purge(this.element);
    this.element.remove();
    contexts.forEach(release);
  }
}

/** The CSS transform that moves a picture of `from` to where it lies in `to`. */
function stretch(from, to, size) {
  const zoom = (from[1] - from[0]) / (to[1] - to[0]);
  const x = ((from[0] - to[0]) / (to[1] - to[0])) * size.width;
  const y = ((to[3] - from[3]) / (to[3] - to[2])) * size.height;
  return `translate(${x}px, ${y}px) scale(${zoom})`;
}

function slowNotice(stride) {
  const part = stride > 1 ? `, and only one image in ${stride} is on it` : "";
  return (
    `This browser offers no WebGL. The map is drawn in a slower way instead${part}. ` +
    "Turning on hardware acceleration in the browser's settings usually helps."
  );
}
