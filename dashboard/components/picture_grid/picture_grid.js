// Draws the pictures and tells the server which was clicked.

class PictureGrid {
  constructor(parent) {
    this.root = element("div", { class: "picture-grid", role: "group" });
    parent.append(this.root);
  }

  receive(strips) {
    const { label, names, captions, columns, rowTitles, size, frames, previewShape: shape } = strips;
    const focused = this.buttons?.indexOf(this.root.getRootNode().activeElement) ?? -1;
    this.root.setAttribute("aria-label", label);
    const title = rowTitles.length ? "max-content " : "";
    this.root.style.gridTemplateColumns = `${title}repeat(${columns}, minmax(0, ${size}px))`;
    const children = [];
    this.buttons = names.map((name, index) => {
      if (rowTitles.length && index % columns === 0) {
        children.push(element("span", { class: "row" }, rowTitles[index / columns]));
      }
      const canvas = element("canvas", { "aria-hidden": "true", width: 1, height: 1 });
      new Picture(canvas).draw(frames.subarray(index * shape.size, (index + 1) * shape.size), shape);
      const button = element("button", { type: "button", "aria-label": name, title: name }, canvas);
      if (captions.length) button.append(element("span", {}, captions[index]));
      button.addEventListener("click", () => this.send(index));
      children.push(button);
      return button;
    });
    this.root.replaceChildren(...children);
    this.buttons[focused]?.focus();
  }

  destroy() {
    this.root.remove();
  }
}

export default mounting(PictureGrid, (grid, { data, setTriggerValue }) => {
  grid.send = (index) => setTriggerValue("choice", index);
  grid.receive(unpack(data));
});
