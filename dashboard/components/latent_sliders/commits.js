// What was done and is not yet answered. One commit is under way at a time; what is done meanwhile waits for its answer,
// so that the server never sees a change of a point that the browser doesn't know.

const PATIENCE = 3000; // milliseconds until a commit counts as unanswered

class Commits {
  // `send` hands a commit to the server, `isDragging` says whether to wait, `onLate` is called when patience ends.
  constructor({ send, isDragging, onLate }) {
    Object.assign(this, { send, isDragging, onLate });
    this.reset();
  }

  reset() {
    clearTimeout(this.timer);
    this.waiting = [];
    this.underway = null;
    this.late = false;
    this.givenUp = new Set();
  }

  push(action, changes = []) {
    const last = this.waiting.at(-1);
    if (action === "drag" && last?.action === "drag") {
      for (const [dimension, value] of changes) last.changes.set(dimension, value);
    } else {
      this.waiting.push({ action, changes: new Map(changes) });
    }
    if (this.late) this.giveUp();
    this.pump();
  }

  // A drag that went unanswered may be lost: what it changed is sent again, with what was done since.
  giveUp() {
    const [next] = this.waiting;
    if (this.underway?.action !== "drag" || next.action !== "drag") return;
    next.changes = new Map([...this.underway.changes, ...next.changes]);
    this.givenUp.add(this.underway.sequence);
    this.underway = null;
  }

  // Somebody else (the map) asked the server for another point: its answer is awaited like one of ours.
  awaitOther() {
    this.reset();
    this.underway = { action: "other", changes: new Map(), sequence: null };
    this.startTimer();
  }

  pump() {
    if (this.underway || !this.waiting.length || this.isDragging()) return;
    // The clock, so that a sequence is never used twice, not even after the page was left and opened again.
    this.sequence = Math.max((this.sequence ?? 0) + 1, Date.now());
    this.underway = { ...this.waiting.shift(), sequence: this.sequence };
    this.startTimer();
    this.send({ sequence: this.sequence, action: this.underway.action, changes: [...this.underway.changes] });
  }

  startTimer() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.late = true;
      this.onLate();
    }, PATIENCE);
  }

  // New strips are here. Those that answer none of ours made what was under way and what waited for it pointless.
  answered(answers, z) {
    clearTimeout(this.timer);
    this.late = false;
    const { underway } = this;
    this.underway = null;
    if (underway && this.givenUp.has(answers)) {
      // The answer to an earlier try came after all; the later one, on older strips, will be refused.
      const rest = [...underway.changes].filter(([dimension, value]) => z[dimension] !== Math.fround(value));
      if (rest.length) this.waiting.unshift({ action: "drag", changes: new Map(rest) });
    } else if (!underway || answers !== underway.sequence) {
      this.waiting = [];
    }
    this.givenUp.clear();
  }

  // The dimensions moved since the strips at hand, with their values.
  changes() {
    const items = this.underway ? [this.underway, ...this.waiting] : this.waiting;
    return new Map(items.flatMap((item) => [...item.changes]));
  }

  // Whether the point that comes next can only be known by the server.
  isUnknown() {
    const items = this.underway ? [this.underway, ...this.waiting] : this.waiting;
    return items.some((item) => item.action !== "drag" && item.action !== "unfold");
  }
}
