// From pointers, wheel and keys to what they mean on the map: move, zoom, look, choose, draw around.

const CLICK_SLOP = 4;
const REACH = { mouse: 9, pen: 12, touch: 20 };
const MODAL = 'dialog[open], [role="dialog"][aria-modal="true"]';
const KEY_STEP = 0.12;
const KEY_ZOOM = 1.3;

/** Whether a key pressed here is meant as text. */
function isTyping(target) {
  if (!(target instanceof Element)) return false;
  const clicked = ["range", "checkbox", "radio", "button", "submit", "reset", "color", "file", "image"];
  if (target.tagName === "INPUT") return !clicked.includes(target.type);
  return ["TEXTAREA", "SELECT"].includes(target.tagName) || target.isContentEditable;
}

class Gestures {
  constructor(map, stage) {
    this.map = map;
    this.stage = stage;
    this.pointers = new Map();
    this.stop = new AbortController();
    const on = (target, name, handler, options = {}) =>
      target.addEventListener(name, handler, { ...options, signal: this.stop.signal });
    on(stage, "pointerdown", (event) => this.down(event));
    on(stage, "pointermove", (event) => this.move(event));
    on(stage, "pointerup", (event) => this.up(event));
    on(stage, "pointercancel", (event) => this.cancel(event));
    on(stage, "pointerleave", () => this.map.hover(null));
    on(stage, "wheel", (event) => this.wheel(event), { passive: false });
    on(stage, "keydown", (event) => this.stageKey(event));
    on(document, "keydown", (event) => this.pageKey(event));
  }

  place(event) {
    const box = this.stage.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  down(event) {
    if (event.button !== 0 || !this.map.figure) return;
    this.stage.setPointerCapture(event.pointerId);
    const at = this.place(event);
    this.pointers.set(event.pointerId, at);
    if (this.pointers.size > 1) {
      this.drag = { kind: "pinch" };
      this.map.sketch(null);
      return;
    }
    const tool = event.shiftKey && this.map.tool === "pan" ? "lasso" : this.map.tool;
    this.drag = { kind: "click", tool, start: at, line: [at] };
  }

  move(event) {
    const at = this.place(event);
    if (!this.pointers.has(event.pointerId)) {
      if (event.pointerType !== "touch") this.map.hover(this.map.rowAt(...at, REACH[event.pointerType] ?? 9));
      return;
    }
    const before = this.pointers.get(event.pointerId);
    if (this.drag?.kind === "pinch") this.pinch(event.pointerId, before, at);
    this.pointers.set(event.pointerId, at);
    const { drag } = this;
    if (!drag || drag.kind === "pinch") return;
    if (drag.kind === "click") {
      if (Math.hypot(at[0] - drag.start[0], at[1] - drag.start[1]) <= CLICK_SLOP) return;
      drag.kind = drag.tool;
      this.map.hover(null);
      this.stage.dataset.dragging = drag.kind;
      if (drag.kind === "pan") this.map.camera.panBy(at[0] - drag.start[0], at[1] - drag.start[1]);
    } else if (drag.kind === "pan") {
      this.map.camera.panBy(at[0] - before[0], at[1] - before[1]);
    }
    if (drag.kind === "pan") return;
    for (const part of event.getCoalescedEvents?.() ?? []) drag.line.push(this.place(part));
    drag.line.push(at);
    this.map.sketch(this.drawn(drag));
  }

  /** Two fingers: what lies under them stays under them. */
  pinch(id, before, at) {
    const other = [...this.pointers].find(([key]) => key !== id)?.[1];
    if (!other) return;
    const middle = (a) => [(a[0] + other[0]) / 2, (a[1] + other[1]) / 2];
    const apart = (a) => Math.max(10, Math.hypot(a[0] - other[0], a[1] - other[1]));
    const [from, to] = [middle(before), middle(at)];
    this.map.camera.panBy(to[0] - from[0], to[1] - from[1]);
    this.map.camera.zoom(apart(at) / apart(before), ...to);
  }

  /** The pixels' polygon that a lasso or a box draws. */
  drawn({ kind, start, line }) {
    if (kind === "lasso") return line;
    const [x, y] = line[line.length - 1];
    return [start, [x, start[1]], [x, y], [start[0], y]];
  }

  up(event) {
    const { drag } = this;
    this.forget(event);
    if (!drag || drag.kind === "pinch" || drag.kind === "pan") return;
    if (drag.kind === "click") {
      this.map.click(...drag.start, REACH[event.pointerType] ?? 9, event.shiftKey);
      return;
    }
    this.map.sketch(null);
    this.map.choice.enclose(this.drawn(drag));
  }

  cancel(event) {
    this.forget(event);
    this.map.sketch(null);
  }

  forget(event) {
    this.pointers.delete(event.pointerId);
    this.drag = this.pointers.size ? { kind: "pinch" } : null;
    delete this.stage.dataset.dragging;
  }

  wheel(event) {
    if (!this.map.figure) return;
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    const amount = Math.max(-240, Math.min(240, event.deltaY * lines));
    this.map.camera.zoom(Math.exp(-amount * (event.ctrlKey ? 0.008 : 0.0025)), ...this.place(event));
  }

  stageKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.map.figure) return;
    const { width, height } = this.map.camera.size;
    const actions = {
      ArrowLeft: () => this.map.camera.panBy(KEY_STEP * width, 0),
      ArrowRight: () => this.map.camera.panBy(-KEY_STEP * width, 0),
      ArrowUp: () => this.map.camera.panBy(0, KEY_STEP * height),
      ArrowDown: () => this.map.camera.panBy(0, -KEY_STEP * height),
      "+": () => this.map.camera.zoom(KEY_ZOOM),
      "=": () => this.map.camera.zoom(KEY_ZOOM),
      "-": () => this.map.camera.zoom(1 / KEY_ZOOM),
      0: () => this.map.camera.showAll(),
    };
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  }

  /** Keys of the whole page. Some keyboards make brackets with AltGr, which says Ctrl and Alt too. */
  pageKey(event) {
    if (!this.map.figure) return;
    const modified = (event.ctrlKey || event.metaKey || event.altKey) && !event.getModifierState("AltGraph");
    if (modified || event.defaultPrevented || isTyping(event.target) || document.querySelector(MODAL)) return;
    const actions = {
      "[": () => this.map.choice.step(-1),
      "]": () => this.map.choice.step(1),
      "?": () => this.map.panel.showKeys(),
      Escape: () => this.escape(),
    };
    actions[event.key]?.();
  }

  escape() {
    if (this.drag && this.drag.kind !== "pan") {
      this.drag = null;
      this.map.sketch(null);
    } else {
      this.map.choice.clear();
    }
  }

  remove() {
    this.stop.abort();
  }
}
