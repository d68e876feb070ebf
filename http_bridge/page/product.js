// One product, asked for by its id when somebody wants to know more.

import { announce } from "./announce.js";
import { ask } from "./api.js";
import { picture } from "./pictures.js";
import { end } from "./session.js";

const dialog = document.getElementById("product");

export async function open(id) {
  try {
    const { data } = (await ask("GET", `/products/${id}`)).body;
    fill(data);
    dialog.showModal();
  } catch (error) {
    if (error.status === 401) end();
    else announce(`${error.title}: ${error.message}`);
  }
}

function fill(product) {
  dialog.querySelector(".picture-place").replaceChildren(picture(product));
  document.getElementById("product-title").textContent = product.title;
  document.getElementById("product-kind").textContent = [product.brand, product.category].filter(Boolean).join(" · ");
  document.getElementById("product-description").textContent = product.description;
  const facts = {
    Price: product.price.toFixed(2),
    Rating: product.rating?.toFixed(2),
    "In stock": product.stock,
    Id: product.id,
  };
  document.getElementById("product-facts").replaceChildren(
    ...Object.entries(facts)
      .filter(([, value]) => value !== null && value !== undefined)
      .flatMap(([name, value]) => [text("dt", name), text("dd", value)]),
  );
}

function text(name, content) {
  const made = document.createElement(name);
  made.textContent = content;
  return made;
}

dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close(); // beside it
});
