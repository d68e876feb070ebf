// The queues: how many messages wait in each, and how many workers consume it.

import { announce } from "./announce.js";
import { live } from "./live.js";

const SAMPLES = 60;
const SILENCE_MS = 5000;
const MEANINGS = {
  "rpc.auth": "sign-ins and sessions",
  "rpc.catalog": "requests for products",
  "work.auth.audit": "who signed in, to note",
  "work.catalog.sync": "pages of products to fetch",
};

const rows = document.getElementById("queues");
const broker = document.getElementById("broker");
const template = document.getElementById("queue-row");

const waited = new Map(); // by queue: its last samples
let replicas = new Map();
let heardAt = 0;

live.addEventListener("queues", ({ detail }) => {
  heardAt = Date.now();
  tellBroker(detail.is_connected ? "connected" : "broker away", detail.is_connected ? "good" : "bad");
  detail.queues.forEach(showQueue);
  tellReplicas(detail.queues);
});
live.addEventListener("lost", () => tellBroker("no news from the bridge", "waiting"));
setInterval(() => {
  if (heardAt && Date.now() - heardAt > SILENCE_MS) tellBroker("no news from the bridge", "waiting");
}, 1000);

/** Forget what was shown; another user may look next. */
export function clear() {
  rows.replaceChildren();
  waited.clear();
  replicas = new Map();
  heardAt = 0;
  broker.textContent = "connecting";
  broker.className = "pill waiting";
}

function tellBroker(text, kind) {
  if (broker.textContent === text) return;
  const isFirst = broker.textContent === "connecting";
  broker.textContent = text;
  broker.className = `pill ${kind}`;
  rows.parentElement.classList.toggle("unsure", kind !== "good");
  if (!isFirst) announce(`Message broker: ${text}`);
}

function showQueue({ name, waiting, consumers }) {
  const row = document.getElementById(`queue ${name}`) ?? addRow(name);
  const [number, spark, count, dots] = row.querySelectorAll(".number, .spark, .dots");
  number.textContent = waiting ?? "?";
  spark.firstElementChild.setAttribute("points", points(name, waiting));
  row.dataset.waiting = waiting ?? "";
  row.dataset.replicas = consumers ?? "";
  const isAsked = name.startsWith("rpc."); // somebody may be waiting for an answer
  row.classList.toggle("unattended", consumers === 0 && isAsked);
  row.classList.toggle("put-off", consumers === 0 && !isAsked && waiting > 0);
  count.textContent = consumers ?? "?";
  while (dots.childElementCount > Math.min(consumers ?? 0, 12)) dots.lastElementChild.remove();
  while (dots.childElementCount < Math.min(consumers ?? 0, 12)) dots.append(document.createElement("i"));
}

function addRow(name) {
  rows.append(template.content.cloneNode(true));
  const row = rows.lastElementChild;
  row.id = `queue ${name}`;
  row.querySelector("code").textContent = name;
  row.querySelector(".quiet").textContent = MEANINGS[name] ?? "";
  return row;
}

function points(name, waiting) {
  const samples = waited.get(name) ?? [];
  waited.set(name, samples);
  samples.push(waiting ?? 0);
  if (samples.length > SAMPLES) samples.shift();
  const highest = Math.max(1, ...samples);
  const offset = SAMPLES - samples.length;
  return samples.map((sample, index) => `${offset + index},${(19 - (18 * sample) / highest).toFixed(1)}`).join(" ");
}

function tellReplicas(queues) {
  const changed = queues.filter(({ name, consumers }) => {
    const before = replicas.get(name);
    return consumers !== null && before !== undefined && before !== consumers;
  });
  for (const { name, consumers } of queues) if (consumers !== null) replicas.set(name, consumers);
  if (changed.length) announce(changed.map(({ name, consumers }) => `${name}: ${consumers} replicas`).join(", "));
}
