// The way of the last request: where it was, and for how long, as the bridge and the browser measured.

import { journeys } from "./api.js";

const road = document.getElementById("road");
const bar = document.getElementById("journey-bar");
const note = document.getElementById("journey-note");
const station = document.getElementById("station");

const NOT_MEASURED = "not measured";

journeys.addEventListener("journey", ({ detail }) => show(detail));

function show(answer) {
  const legs = legsOf(answer);
  document.getElementById("journey-request").textContent = `${answer.method} ${decodeURIComponent(answer.path)}`;
  const status = document.getElementById("journey-status");
  status.textContent = answer.status;
  status.className = `pill ${answer.status < 400 ? "good" : "bad"}`;
  document.getElementById("journey-total").textContent = milliseconds(answer.browserMs);
  road.replaceChildren(...legs.map(stationOf));
  bar.replaceChildren(...legs.filter(({ ms }) => ms > 0).map(segmentOf));
  bar.hidden = !answer.timings;
  note.textContent = noteOf(answer);
}

// `worker` contains `upstream`; each leg is shown for what it adds.
function legsOf({ path, timings, browserMs }) {
  const service = path.startsWith("/auth") ? "auth" : "catalog";
  const measured = timings ?? {};
  const own = measured.worker === undefined ? undefined : measured.worker - (measured.upstream ?? 0);
  const outside = timings ? Math.max(0, browserMs - timings.total) : undefined;
  const legs = [
    { name: "edge", place: "Bridge", means: "http_bridge", ms: measured.edge },
    { name: "queue", place: "Queue", means: `rpc.${service}`, ms: measured.queue },
    { name: "worker", place: "Worker", means: `${service}_worker`, ms: own },
    { name: "reply", place: "Way back", means: "rpc.replies", ms: measured.reply },
    { name: "outside", place: "Outside", means: "network, browser", ms: outside },
  ];
  if (service === "catalog") {
    const unasked = timings && measured.upstream === undefined;
    legs.splice(3, 0, { name: "upstream", place: "Product API", means: "over HTTP", ms: measured.upstream, unasked });
  }
  return legs;
}

function stationOf({ name, place, means, ms, unasked }) {
  const shown = station.content.cloneNode(true);
  const item = shown.querySelector("li");
  item.classList.add(name);
  item.classList.toggle("unknown", ms === undefined);
  shown.querySelector(".place").textContent = place;
  shown.querySelector(".time").textContent = unasked ? "not asked" : milliseconds(ms);
  shown.querySelector(".means").textContent = means;
  return shown;
}

function segmentOf({ name, ms }) {
  const segment = document.createElement("span");
  segment.className = name;
  segment.style.flexGrow = String(ms);
  return segment;
}

function milliseconds(ms) {
  if (ms === undefined) return NOT_MEASURED;
  return `${ms < 10 ? ms.toFixed(2) : ms < 100 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

function noteOf({ headers, timings }) {
  const id = headers.get("X-Request-ID");
  const measured = timings ? `${milliseconds(timings.total)} of it inside` : "The answer says nothing of its way";
  return id ? `${measured} · request ${id}` : measured;
}
