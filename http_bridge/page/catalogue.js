// The catalogue: what the address bar asks for, page by page.

import { announce } from "./announce.js";
import { ask } from "./api.js";
import { picture } from "./pictures.js";
import { open } from "./product.js";
import { end } from "./session.js";

const PAGE_SIZE = 12;
const TYPING_MS = 300;

const filters = document.getElementById("filters");
const { q, category, sort } = filters.elements;
const list = document.getElementById("products");
const range = document.getElementById("range");
const title = document.getElementById("catalogue-title");
const problem = document.getElementById("catalogue-problem");
const stale = document.getElementById("stale");
const sync = document.getElementById("sync");
const pages = document.getElementById("pages");
const card = document.getElementById("product-card");

let page = 1;
let asking = new AbortController();
let typing;

/** Show what the address bar asks for, to somebody who has just come. */
export async function start() {
  readAddress();
  await Promise.all([showCategories(), show()]);
}

/** Forget what was shown to the last user. */
export function stop() {
  asking.abort();
  list.replaceChildren();
  range.textContent = "";
}

async function showCategories() {
  try {
    const { data } = (await ask("GET", "/products/categories")).body;
    category.replaceChildren(category.options[0], ...data.map(({ slug, name }) => new Option(name, slug)));
    readAddress();
  } catch (error) {
    if (error.status === 401) end();
  }
}

async function show({ focus = false } = {}) {
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  list.setAttribute("aria-busy", "true");
  try {
    const answer = await ask("GET", `/products?${query()}`, { signal });
    showPage(answer.body ?? { data: [], total: 0 }); // 204: there are none at all
    showAge(answer.headers);
    if (focus) title.focus();
  } catch (error) {
    if (error.name === "AbortError") return; // somebody asked for something else meanwhile
    if (error.status === 401) end();
    else showProblem(error);
  }
  list.setAttribute("aria-busy", "false");
}

function query() {
  const asked = new URLSearchParams({ limit: PAGE_SIZE, skip: (page - 1) * PAGE_SIZE });
  if (q.value.trim()) asked.set("q", q.value.trim());
  if (category.value) asked.set("category", category.value);
  if (sort.value) {
    const [by, order] = sort.value.split(".");
    asked.set("sort_by", by);
    asked.set("order", order);
  }
  return asked;
}

function showPage({ data, total }) {
  problem.hidden = true;
  list.replaceChildren(...data.map(productCard));
  const last = Math.max(1, Math.ceil(total / PAGE_SIZE));
  const first = (page - 1) * PAGE_SIZE + 1;
  range.textContent = data.length ? `${first} to ${first + data.length - 1} of ${total}` : "Nothing found";
  pages.hidden = last === 1 && page === 1;
  document.getElementById("page-number").textContent = `Page ${page} of ${last}`;
  document.getElementById("previous").disabled = page === 1;
  document.getElementById("next").disabled = page >= last;
  announce(data.length ? `Products ${range.textContent}` : range.textContent);
}

function productCard(product) {
  const shown = card.content.cloneNode(true);
  const button = shown.querySelector("button");
  button.textContent = product.title;
  button.addEventListener("click", () => open(product.id));
  shown.querySelector(".picture-place").append(picture(product));
  shown.querySelector(".kind").textContent = [product.brand, product.category].filter(Boolean).join(" · ");
  shown.querySelector(".price").textContent = product.price.toFixed(2);
  const stock = product.stock === null ? null : product.stock ? `${product.stock} in stock` : "sold out";
  const rating = product.rating === null ? null : `rated ${product.rating.toFixed(1)}`;
  shown.querySelector(".extra").textContent = [rating, stock].filter(Boolean).join(" · ");
  return shown;
}

function showAge(headers) {
  stale.hidden = !headers.get("Warning");
  stale.textContent = `The product API cannot be asked. This was known ${headers.get("Age") ?? "some"} s ago.`;
}

function showProblem(error) {
  list.replaceChildren();
  range.textContent = "";
  pages.hidden = true;
  stale.hidden = true;
  problem.querySelector("b").textContent = `${error.title}.`;
  problem.querySelector("span").textContent = error.message === error.title ? "" : `${error.message}.`;
  problem.querySelector(".quiet").textContent = `${error.code ?? error.status}${error.requestId ? ` · request ${error.requestId}` : ""}`;
  problem.hidden = false;
}

// --- what the visitor does -----------------------------------------------------------------------

function turn(to) {
  page = to;
  writeAddress();
  show({ focus: true });
}

function choose() {
  page = 1;
  writeAddress();
  show();
}

filters.addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(typing);
  category.value = "";
  choose();
});
q.addEventListener("input", () => {
  category.value = ""; // the API takes one or the other
  clearTimeout(typing);
  typing = setTimeout(choose, TYPING_MS);
});
category.addEventListener("change", () => {
  q.value = "";
  choose();
});
sort.addEventListener("change", choose);
document.getElementById("previous").addEventListener("click", () => turn(page - 1));
document.getElementById("next").addEventListener("click", () => turn(page + 1));
problem.querySelector("button").addEventListener("click", () => show({ focus: true }));
sync.addEventListener("click", async () => {
  sync.disabled = true;
  try {
    await ask("POST", "/products/sync");
    announce("The catalogue is being renewed");
  } catch (error) {
    if (error.status === 401) end();
    else announce(`${error.title}: ${error.message}`);
  }
  sync.disabled = false;
});
addEventListener("popstate", () => {
  readAddress();
  if (!document.getElementById("signed-in").hidden) show();
});

function readAddress() {
  const asked = new URLSearchParams(location.search);
  page = Math.max(1, Number.parseInt(asked.get("page"), 10) || 1);
  q.value = asked.get("q") ?? "";
  sort.value = asked.get("sort") ?? "";
  if (sort.selectedIndex < 0) sort.value = "";
  const wanted = q.value ? "" : (asked.get("category") ?? "");
  if (wanted && ![...category.options].some((option) => option.value === wanted)) {
    category.append(new Option(wanted, wanted)); // its name is not known yet
  }
  category.value = wanted;
}

function writeAddress() {
  const asked = new URLSearchParams();
  for (const [name, value] of Object.entries({ q: q.value.trim(), category: category.value, sort: sort.value })) {
    if (value) asked.set(name, value);
  }
  if (page > 1) asked.set("page", String(page));
  history.pushState(null, "", asked.size ? `?${asked}` : location.pathname);
}
