// Pictures drawn here: those of products are at other hosts, which this page does not ask.

const SVG = "http://www.w3.org/2000/svg";

/** Draw a placeholder: a colour for the category, shapes for the product, its initials. */
export function picture(product) {
  const seed = hash(product.title);
  const svg = element("svg", { viewBox: "0 0 160 100", "aria-hidden": "true", focusable: "false" });
  svg.classList.add("picture");
  svg.style.setProperty("--hue", String(hash(product.category ?? "") % 360));
  for (let ring = 0; ring < 3; ring += 1) {
    const part = (seed >>> (ring * 8)) & 255;
    svg.append(
      element("circle", { cx: 20 + (part % 13) * 10, cy: 10 + (part % 7) * 14, r: 16 + (part % 5) * 9 }),
    );
  }
  const text = element("text", { x: 80, y: 61, "text-anchor": "middle" });
  text.textContent = initials(product.title);
  svg.append(text);
  return svg;
}

function initials(title) {
  const words = title.match(/\p{L}[\p{L}\p{N}]*/gu) ?? ["?"];
  return words.filter((word) => word.length > 2 || words.length < 3).slice(0, 2)
    .map((word) => word[0].toUpperCase()).join("");
}

// FNV-1a: the same for everybody, at each visit
function hash(text) {
  let value = 2166136261;
  for (const character of text) {
    value = Math.imul(value ^ character.codePointAt(0), 16777619) >>> 0;
  }
  return (value ^ (value >>> 15)) >>> 0;
}

function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  return made;
}
