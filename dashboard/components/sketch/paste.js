// Takes a picture from the clipboard: by its button, or by the keys for paste anywhere on the page.

class Paste {
  constructor(parent) {
    this.button = element("button", { type: "button" }, "Paste a picture");
    this.note = element("span", { role: "status" });
    this.root = element("div", { class: "paste" }, this.button, this.note);
    parent.append(this.root);
    this.button.addEventListener("click", () => this.read());
    this.listener = (event) => this.pasted(event);
    document.addEventListener("paste", this.listener);
  }

  async read() {
    this.say("");
    try {
      for (const item of await navigator.clipboard.read()) {
        const type = item.types.find((name) => name.startsWith("image/"));
        if (type) return await this.take(await item.getType(type));
      }
      this.say("There is no picture in the clipboard: copy one first.");
    } catch {
      this.say("The browser doesn't hand out the clipboard here: press Ctrl+V (⌘V) instead.");
    }
  }

  pasted(event) {
    const item = [...(event.clipboardData?.items ?? [])].find((one) => one.kind === "file" && one.type.startsWith("image/"));
    if (!item) return;
    event.preventDefault();
    this.take(item.getAsFile());
  }

  async take(blob) {
    if (blob.size > this.most) {
      this.say(`The picture has ${blob.size.toLocaleString("en")} bytes; at most ${this.most.toLocaleString("en")} are read.`);
      return;
    }
    const bytes = new Uint8Array(await blob.arrayBuffer());
    this.say("Pasted.");
    this.send(base64(bytes));
  }

  say(text) {
    this.note.textContent = text;
  }

  destroy() {
    document.removeEventListener("paste", this.listener);
    this.root.remove();
  }
}

export default mounting(Paste, (paste, { data, setStateValue }) => {
  paste.most = data.most;
  paste.send = (pasted) => setStateValue("pasted", pasted);
});
