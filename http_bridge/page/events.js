// What has happened, as the services tell it: the newest first.

import { live } from "./live.js";

const KEPT = 50;

const list = document.getElementById("events");
const note = document.getElementById("events-note");
const since = document.getElementById("events-since");
const template = document.getElementById("event-row");
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

let lastAt = 0;
let keptSince = 0;

live.addEventListener("events", ({ detail }) => {
  for (const happening of detail) {
    if (happening.at <= lastAt) continue; // the stream broke, and began again
    lastAt = happening.at;
    list.prepend(row(happening));
  }
  while (list.childElementCount > KEPT) list.lastElementChild.remove();
});

live.addEventListener("queues", ({ detail }) => {
  if (detail.since !== keptSince) clear(); // nobody heard what came in between
  keptSince = detail.since;
  since.textContent = `since ${clock.format(detail.since * 1000)}`;
  const more = detail.events_skipped ? `${detail.events_skipped} more came too fast to show.` : "";
  note.textContent = list.childElementCount ? more : "Nothing has happened yet: sign-ins and changes of products show up here.";
});

/** Forget what was shown; another user may look next. */
export function clear() {
  list.replaceChildren();
  note.textContent = "";
  since.textContent = "";
  lastAt = 0;
  keptSince = 0;
}

function row({ at, name, subject }) {
  const shown = template.content.cloneNode(true);
  const time = shown.querySelector("time");
  time.dateTime = new Date(at * 1000).toISOString();
  time.textContent = clock.format(at * 1000);
  shown.querySelector("code").textContent = name;
  shown.querySelector("span").textContent = subject ?? "";
  return shown;
}
