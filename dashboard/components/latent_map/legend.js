// One button a class: a click hides or shows it, a double click leaves it alone on the map.

const number = (value) => value.toLocaleString("en-US");

class Legend {
  constructor(onHidden) {
    this.onHidden = onHidden;
    this.element = make("div", { class: "latent-map-legend", role: "group", "aria-label": "Classes" });
  }

  set(groups, single) {
    this.groups = groups;
    this.element.hidden = single;
    this.chips = groups.map((group, index) => {
      const swatch = make("i", { "data-symbol": group.symbol, "aria-hidden": "true" });
      const count = make("span", { class: "latent-map-count" }, number(group.rows.length));
      const title = "Click: hide or show. Double click, or shift and click: only this one.";
      const chip = make("button", { type: "button", title }, swatch, make("span", {}, group.name), count);
      chip.addEventListener("click", (event) =>
        event.detail === 2 || event.shiftKey ? this.isolate(index, event.detail === 2) : this.toggle(index)
      );
      return chip;
    });
    this.everything = make("button", { type: "button", class: "latent-map-everything" }, "Show all");
    this.everything.addEventListener("click", () => this.onHidden(this.groups.map(() => false)));
    this.element.replaceChildren(...this.chips, this.everything);
  }

  toggle(index) {
    this.hiddenBefore = this.groups.map((group) => group.hidden);
    this.onHidden(this.groups.map((group, i) => (i === index ? !group.hidden : group.hidden)));
  }

  /** Only one class; or all of them, if it was alone before. A double click's first half has toggled it already. */
  isolate(index, afterToggle) {
    const before = afterToggle ? this.hiddenBefore : this.groups.map((group) => group.hidden);
    const wasAlone = before.every((hidden, i) => hidden === (i !== index));
    this.onHidden(before.map((_, i) => !wasAlone && i !== index));
  }

  refresh(byClass) {
    const shapes = new Set(this.groups.map((group) => group.symbol)).size;
    this.element.toggleAttribute("data-plain", !byClass && shapes === 1);
    this.groups.forEach((group, index) => {
      this.chips[index].setAttribute("aria-pressed", String(!group.hidden));
      this.chips[index].style.setProperty("--swatch", byClass ? group.colour : "currentColor");
    });
    const some = this.groups.some((group) => group.hidden);
    if (!some && document.activeElement === this.everything) this.chips[0]?.focus();
    this.everything.hidden = !some;
  }
}
