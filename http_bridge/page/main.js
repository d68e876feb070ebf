// The story of the page: who is here, and what they are shown.

import * as catalogue from "./catalogue.js";
import * as events from "./events.js";
import "./journey.js";
import * as live from "./live.js";
import * as queues from "./queues.js";
import { restore, session } from "./session.js";

const element = (id) => document.getElementById(id);

session.addEventListener("change", ({ detail: user }) => {
  const isOperator = user?.scopes.includes("operations:read") ?? false;
  element("welcome").hidden = user !== null;
  element("signed-in").hidden = user === null;
  element("account").hidden = user === null;
  element("username").textContent = user?.username ?? "";
  element("operations").hidden = !isOperator;
  element("signed-in").classList.toggle("with-operations", isOperator);
  element("sync").hidden = !user?.scopes.includes("catalog:sync");
  catalogue.stop();
  live.stop();
  queues.clear();
  events.clear();
  if (user) catalogue.start();
  if (isOperator) live.listen();
});

restore();
