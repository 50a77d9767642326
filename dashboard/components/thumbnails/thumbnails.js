// A row of pictures, each a button. What is pressed is told by its index.

export default function ({ data, parentElement, setTriggerValue }) {
  const { head, body } = readFrame(data);
  const { pixels } = unpackArrays(head.arrays, body);
  const [, channels, height, width] = head.shape;
  const list = document.createElement("div");
  list.className = "thumbnails";
  list.style.setProperty("--size", `${head.size}px`);
  head.names.forEach((name, index) => {
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const size = channels * height * width;
    draw(canvas, pixels.subarray(index * size, (index + 1) * size), channels);
    const caption = Object.assign(document.createElement("span"), { textContent: head.captions[index] });
    const button = Object.assign(document.createElement("button"), { type: "button", title: name });
    button.setAttribute("aria-label", name);
    button.append(canvas, caption);
    button.addEventListener("click", () => setTriggerValue("picked", index));
    list.append(button);
  });
  parentElement.querySelector(".thumbnails")?.remove();
  parentElement.append(list);
}

function draw(canvas, pixels, channels) {
  const picture = new ImageData(canvas.width, canvas.height);
  const area = canvas.width * canvas.height;
  const [green, blue] = channels < 3 ? [0, 0] : [area, 2 * area];
  for (let at = 0; at < area; at += 1) {
    picture.data.set([pixels[at], pixels[at + green], pixels[at + blue], 255], 4 * at);
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
}
