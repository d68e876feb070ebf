// Who is signed in: known to the bridge by its cookies, which scripts cannot read.

import { announce } from "./announce.js";
import { ask } from "./api.js";

/** Tells who is signed in with the event "change": the user, or null. */
export const session = new EventTarget();

const form = document.getElementById("sign-in");
const problem = document.getElementById("sign-in-problem");

/** Ask who is signed in, as at each load of the page. */
export async function restore() {
  try {
    change((await ask("GET", "/auth/me")).body);
  } catch (error) {
    change(null);
    if (error.status !== 401) show(`${error.title}. ${error.message}`);
  }
}

/** Say that the session is over, though nobody signed out here. */
export function end() {
  change(null);
  show("Your session has ended. Sign in again.");
  form.elements.username.focus();
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { username, password } = Object.fromEntries(new FormData(form));
  const button = form.querySelector("button");
  button.disabled = true;
  problem.hidden = true;
  try {
    await ask("POST", "/auth", { body: { username, password } });
    form.reset();
    change((await ask("GET", "/auth/me")).body);
    announce(`Signed in as ${username}`);
    document.getElementById("catalogue-title").focus();
  } catch (error) {
    show(explain(error));
    form.elements.password.select();
    form.elements.password.focus();
  } finally {
    button.disabled = false;
  }
});

document.getElementById("sign-out").addEventListener("click", async () => {
  try {
    await ask("POST", "/auth/logout");
  } catch (error) {
    if (error.status !== 401) {
      announce(`Not signed out: ${error.message}`);
      return;
    }
  }
  change(null);
  announce("Signed out");
  form.elements.username.focus();
});

function change(user) {
  problem.hidden = true;
  session.dispatchEvent(new CustomEvent("change", { detail: user }));
}

function show(text) {
  problem.textContent = text;
  problem.hidden = false;
}

function explain(error) {
  if (error.code === "invalid_credentials") return "User name or password is wrong.";
  if (error.code === "too_many_attempts") {
    const wait = error.retryAfter ? ` Try again in ${error.retryAfter} s.` : "";
    return `Too many failed attempts.${wait}`;
  }
  return error.title === error.message ? `${error.title}.` : `${error.title}: ${error.message}.`;
}
