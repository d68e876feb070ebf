// What goes on in the broker, as the bridge tells it while somebody looks at this page.

import { renew } from "./api.js";
import { end } from "./session.js";

/** Tells "queues", "events" and "lost", each with what the bridge sent. */
export const live = new EventTarget();

const AGAIN_MS = 3000;

let source = null;
let wanted = false;
let again;

export function listen() {
  wanted = true;
  open();
}

export function stop() {
  wanted = false;
  close();
}

function open() {
  if (source || !wanted || document.hidden) return;
  source = new EventSource("/live");
  for (const name of ["queues", "events"]) {
    source.addEventListener(name, ({ data }) => tell(name, JSON.parse(data)));
  }
  source.addEventListener("error", failed);
}

function close() {
  clearTimeout(again);
  source?.close();
  source = null;
}

/** A stream that broke is opened again by the browser; one that was refused is for us to mend. */
async function failed() {
  tell("lost");
  if (source?.readyState !== EventSource.CLOSED) return;
  close();
  try {
    if (!(await renew())) {
      if (wanted) end();
      return;
    }
  } catch {
    // away, and so is the broker perhaps: later, then
  }
  again = setTimeout(open, AGAIN_MS);
}

function tell(name, detail = null) {
  live.dispatchEvent(new CustomEvent(name, { detail }));
}

// a page that nobody sees has nobody who looks
document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
