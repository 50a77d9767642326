// The colours of the page, light or dark, and the scale that numbers are coloured by.

// Cividis (Nuñez, Anderton & Renslow 2018), at tenths: its lightness grows evenly, for colour-blind eyes too.
const CIVIDIS = [
  [0, 34, 78], [18, 53, 112], [59, 73, 108], [87, 93, 109], [112, 113, 115], [138, 134, 120],
  [165, 156, 116], [195, 179, 105], [225, 204, 85], [247, 225, 70], [254, 232, 56],
];
const SCALE_STEPS = 32;

/** What the page's theme gives what is drawn on a canvas. */
function themeOf(element) {
  const style = getComputedStyle(element);
  const value = (name, otherwise) => style.getPropertyValue(name).trim() || otherwise;
  const background = value("--st-background-color", "#ffffff");
  return {
    background,
    dark: lightness(background) < 0.5,
    text: value("--st-text-color", "#1d2233"),
    primary: value("--st-primary-color", "#3454d1"),
    warning: value("--st-orange-color", "#d9730d"),
    font: value("--st-font", "sans-serif"),
  };
}

/** How light a CSS colour is, 0 to 1. */
function lightness(colour) {
  const [red, green, blue] = rgbOf(colour);
  return (0.299 * red + 0.587 * green + 0.114 * blue) / 255;
}

/** Red, green and blue of a CSS colour, 0 to 255. */
function rgbOf(colour) {
  const pen = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d");
  pen.fillStyle = colour;
  pen.fillRect(0, 0, 1, 1);
  return [...pen.getImageData(0, 0, 1, 1).data.subarray(0, 3)];
}

/** The colour scale as CSS colours. Its end that the background swallows is left out: dark on dark, pale on white. */
function colourScale(dark) {
  const [low, high] = dark ? [0.25, 1] : [0, 0.9];
  return Array.from({ length: SCALE_STEPS }, (_, step) => {
    const at = (low + ((high - low) * step) / (SCALE_STEPS - 1)) * (CIVIDIS.length - 1);
    const i = Math.min(Math.floor(at), CIVIDIS.length - 2);
    return `rgb(${CIVIDIS[i].map((from, c) => Math.round(from + (at - i) * (CIVIDIS[i + 1][c] - from))).join(" ")})`
      .replaceAll(" ", ",");
  });
}

/** Which step of the colour scale a number has. */
const scaleStep = ({ low, high }, value) =>
  Math.max(0, Math.min(SCALE_STEPS - 1, Math.floor(((value - low) / (high - low || 1)) * SCALE_STEPS)));
