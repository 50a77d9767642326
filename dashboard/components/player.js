// A slider along a row of things, and a button that plays them: one after the other, to the last.

class Player {
  // `move` goes to a place on the slider; `period` says how many milliseconds to stay at each of so many.
  constructor(name, move, period) {
    Object.assign(this, { move, period });
    this.input = element("input", { type: "range", min: 0, step: 1, "aria-label": name });
    this.button = element("button", { type: "button" }, "Play");
    this.root = element("div", { class: "bar" }, this.button, this.input);
    this.input.addEventListener("pointerdown", () => this.pause());
    this.input.addEventListener("input", () => move(Number(this.input.value)));
    this.button.addEventListener("click", () => (this.timer ? this.pause() : this.start()));
  }

  get last() {
    return Number(this.input.max);
  }

  // Where the thumb stands, and what that is in words.
  show(place, words) {
    this.input.value = place;
    this.input.setAttribute("aria-valuetext", words);
  }

  start() {
    if (Number(this.input.value) === this.last) this.move(0);
    this.button.textContent = "Pause";
    this.timer = setInterval(() => {
      const next = Number(this.input.value) + 1;
      if (next > this.last) this.pause();
      else this.move(next);
    }, this.period(this.last + 1));
  }

  pause() {
    clearInterval(this.timer);
    this.timer = null;
    this.button.textContent = "Play";
  }
}
