// One request to the bridge: what came of it, and what its way took.

export class Problem extends Error {
  constructor(status, { title, detail, code, request_id: requestId }, retryAfter = null) {
    super(detail || title);
    Object.assign(this, { status, title, code, requestId, retryAfter });
  }
}

/** Tells of each answer with the event "journey". */
export const journeys = new EventTarget();

/** Ask the bridge; renew the session once when the access token is over. */
export async function ask(method, path, { body, signal } = {}) {
  let answer = await travel(method, path, body, signal);
  if (answer.status === 401 && path !== "/auth" && (await renew())) {
    answer = await travel(method, path, body, signal);
  }
  return answered(answer);
}

let renewing = null;

/** Trade the refresh token for new ones; say whether there is a session now. */
export function renew() {
  renewing ??= alone(Date.now()).finally(() => {
    renewing = null;
  });
  return renewing;
}

// A refresh token is good for one use, and a second one ends the session: so of all tabs one
// renews, and the others take what it got. Browsers give locks to secure pages and localhost only.
const RENEWED = "postroad renewed at";

function alone(askedAt) {
  const renewOnce = () => Number(localStorage.getItem(RENEWED)) >= askedAt || trade();
  return navigator.locks ? navigator.locks.request(RENEWED, renewOnce) : Promise.resolve(renewOnce());
}

async function trade() {
  const answer = await travel("POST", "/auth/refresh");
  if (answer.status === 401) return false;
  answered(answer);
  localStorage.setItem(RENEWED, String(Date.now()));
  return true;
}

async function travel(method, path, body, signal) {
  const began = performance.now();
  const init = { method, signal, cache: "no-store", headers: { Accept: "application/json" } };
  if (body) {
    init.body = JSON.stringify(body);
    init.headers["Content-Type"] = "application/json";
  }
  let response;
  let text;
  try {
    response = await fetch(path, init);
    text = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { title: "The bridge does not answer", code: "unreachable" });
  }
  const answer = {
    method,
    path,
    status: response.status,
    headers: response.headers,
    body: read(text),
    browserMs: performance.now() - began,
    timings: readTimings(response.headers.get("Server-Timing")),
  };
  journeys.dispatchEvent(new CustomEvent("journey", { detail: answer }));
  return answer;
}

function answered(answer) {
  if (answer.status < 400) return answer;
  const retryAfter = Number(answer.headers.get("Retry-After")) || null;
  throw new Problem(answer.status, answer.body ?? { title: `Status ${answer.status}` }, retryAfter);
}

function read(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null; // nothing, or a proxy's own page
  }
}

/** Read `name;dur=1.5, ...` (Server-Timing) into milliseconds by name; null when there is none. */
export function readTimings(header) {
  const timings = {};
  for (const item of (header ?? "").split(",")) {
    const [name, ...parameters] = item.split(";").map((part) => part.trim());
    const duration = parameters.find((each) => each.startsWith("dur="));
    if (name && duration) timings[name] = Number(duration.slice(4));
  }
  return "total" in timings ? timings : null;
}
