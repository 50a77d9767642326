// Which images are chosen and which one is looked at; what a click, a lasso and the keys make of that.

const MOST_CLICKED = 1000;
const MOST_CORNERS = 48;
const STEP_MS = 150;
const NOTHING = { clicked: [], polygon: null, hidden: [], primary: null };

class Choice {
  constructor(map) {
    this.map = map;
    this.reset();
  }

  reset() {
    clearTimeout(this.stepping);
    Object.assign(this, { stepping: null, selection: NOTHING, rows: new Int32Array(), current: null });
  }

  set(selection) {
    this.selection = selection;
    this.rows = this.rowsOf(selection);
    this.map.chosen();
  }

  look(row) {
    this.current = row;
    this.map.chosen();
  }

  /** What the server knows, taken over. */
  follow({ selection, current }, reveal) {
    if (JSON.stringify(selection) !== JSON.stringify(this.selection)) this.set(selection);
    if (current === this.current) return;
    this.look(current);
    if (reveal && current !== null) this.map.reveal(current);
  }

  /** The rows of a selection, ascending. */
  rowsOf({ clicked, polygon, hidden }) {
    const { xy, labels } = this.map;
    if (!polygon) return Int32Array.from(clicked).sort();
    const isIn = new Uint8Array(xy.length / 2);
    const without = new Set(hidden);
    for (let row = 0; row < isIn.length; row++) {
      if (labels && without.size && without.has(labels[row])) continue;
      if (insidePolygon(polygon, xy[2 * row], xy[2 * row + 1])) isIn[row] = 1;
    }
    for (const row of clicked) isIn[row] = 1;
    const rows = new Int32Array(isIn.length);
    let count = 0;
    for (let row = 0; row < isIn.length; row++) if (isIn[row]) rows[count++] = row;
    return rows.slice(0, count);
  }

  click(row, add) {
    this.set(add ? this.toggled(row) : { ...NOTHING, clicked: [row], primary: row });
    this.look(row);
    this.map.announceChosen(row);
    this.send();
  }

  /** The selection with one row more, or without it if it was added by itself before. */
  toggled(row) {
    const { selection } = this;
    if (selection.clicked.includes(row)) {
      const clicked = selection.clicked.filter((other) => other !== row);
      return { ...selection, clicked, primary: clicked.at(-1) ?? null };
    }
    const isNew = !this.rows.includes(row) && selection.clicked.length < MOST_CLICKED;
    return { ...selection, clicked: isNew ? [...selection.clicked, row] : selection.clicked, primary: row };
  }

  /** Choose what is shown inside a line on the screen, given in pixels. */
  enclose(line) {
    const { camera, groups } = this.map;
    const corners = simplify(line, MOST_CORNERS);
    if (corners.length < 3) return;
    const polygon = corners.map((corner) => camera.place(...corner).map((value) => camera.round(value)));
    const hidden = groups.filter((group) => group.hidden).flatMap((group) => group.classes);
    const selection = { clicked: [], polygon, hidden, primary: null };
    if (!this.rowsOf(selection).length) return;
    this.set(selection);
    this.send();
  }

  clear() {
    if (!this.rows.length) return;
    this.set(NOTHING);
    this.send();
  }

  /** Look at the next image of the selection, or of the whole map if less than two are selected. */
  step(by) {
    const several = this.rows.length > 1;
    const next = several ? this.nextChosen(by) : this.nextShown(by);
    if (next === null) return;
    if (several) this.selection = { ...this.selection, primary: next };
    else this.set({ ...NOTHING, clicked: [next], primary: next });
    this.look(next);
    this.map.announceChosen(next);
    this.map.reveal(next);
    clearTimeout(this.stepping);
    this.stepping = setTimeout(() => this.send(), STEP_MS);
  }

  nextChosen(by) {
    const { rows, current } = this;
    const found = by > 0 ? rows.find((row) => row > (current ?? -1)) : rows.findLast((row) => row < (current ?? Infinity));
    return found ?? null;
  }

  nextShown(by) {
    const count = this.map.xy.length / 2;
    let row = this.current ?? (by > 0 ? -1 : count);
    do row += by;
    while (row >= 0 && row < count && !this.map.isShown(row));
    return row >= 0 && row < count ? row : null;
  }

  send() {
    clearTimeout(this.stepping);
    this.stepping = null;
    const { clicked, polygon, hidden, primary } = this.selection;
    const commit = clicked.length || polygon ? { kind: "select", clicked, polygon, hidden, primary } : { kind: "clear" };
    this.map.outbox.send("marks", commit);
  }

  /** Whether a step waits to be told. */
  get isStepping() {
    return this.stepping !== null;
  }
}
