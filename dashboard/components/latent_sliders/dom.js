// What every slider over a filmstrip needs of the page around it.

const THUMB = 10; // the width of the input's thumb in pixels, as in the style sheet
const LEAP = 6; // steps of a page key

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// Tells the map where the point that is shown lies on it; kept for a map that comes later.
function announcePreview({ instance, run, generation }, [x, y]) {
  const detail = { instance, run, generation, x, y };
  const kept = ((window.__latent ??= {})[instance] ??= {});
  kept["latent:preview"] = detail;
  document.dispatchEvent(new CustomEvent("latent:preview", { detail }));
}

// The page around fades what waits for the server. What lives in the browser goes on meanwhile, so it stays as it is.
function stayClear(parent) {
  const outer = parent.getRootNode().host ?? parent;
  outer.closest("[data-testid=stElementContainer]")?.style.setProperty("opacity", "1", "important");
}

/** A component's entry: a view for each mount, made when its first data comes and destroyed with the mount. `follow` hands the
 * view what came, and the ways to answer. */
function mounting(View, follow) {
  const views = new WeakMap();
  return (component) => {
    const { parentElement } = component;
    let view = views.get(parentElement);
    if (!view) {
      view = new View(parentElement);
      views.set(parentElement, view);
    }
    follow(view, component);
    return () => {
      view.destroy();
      views.delete(parentElement);
    };
  };
}
