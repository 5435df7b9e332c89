// Signing in, the one-time links, and what only the owner sees.

import { dialog, field, form, h, icon } from "./dom.js";
import { call } from "./server.js";

function door(app, title, lead, ...content) {
  return h("div", { class: "door" },
    h("div", { class: "panel" },
      h("div", { class: "brand" }, icon(), h("div", {}, h("h1", {}, title), h("p", {}, app.about.tenant))),
      lead ? h("p", {}, lead) : null, ...content),
    h("footer", {}, `Board ${document.documentElement.dataset.version}`));
}

export function login(app) {
  const { sso } = app.about;
  if (sso) {
    const leave = () => location.assign(sso.endpoint);
    return door(app, "Sign in", null,
      h("button", { type: "button", class: "primary", onclick: leave, autofocus: true }, "Sign in at your identity provider"));
  }
  return door(app, "Sign in", null, form({}, [
    field("E-mail address", h("input", { name: "email", type: "email", autocomplete: "username", required: true, autofocus: true })),
    field("Password", h("input", { name: "password", type: "password", autocomplete: "current-password", required: true })),
    h("div", { class: "buttons" }, h("button", { type: "submit", class: "primary" }, "Sign in")),
  ], async (given) => app.signedIn(await call("POST", "/login", given), app.back)));
}

// The token stands behind the #, which browsers never send: it reaches no access log.
export async function welcome(app) {
  const token = location.hash.slice(1);
  let link;
  try {
    link = await call("POST", "/welcome/check", { token });
  } catch (problem) {
    if (problem.status !== 410) throw problem;
    return door(app, "Link not valid", problem.message, h("button", { type: "button", class: "primary", onclick: () => app.go("/login") }, "Go to sign in"));
  }
  const least = app.about.passwordMinLength;
  const owner = link.role === "owner";
  return door(app, "Welcome", owner ? "You are the account owner. Choose your password to begin." : "You are invited. Choose your password to join.",
    form({}, [
      field("E-mail address", h("input", { name: "email", type: "email", autocomplete: "username", required: true, value: link.email, readonly: !owner })),
      field("Your name", h("input", { name: "name", autocomplete: "name", required: true, maxlength: 80, value: link.name, autofocus: true })),
      field("Password", h("input", { name: "password", type: "password", autocomplete: "new-password", required: true, minlength: least }), `at least ${least} characters`),
      field("Password again", h("input", { name: "again", type: "password", autocomplete: "new-password", required: true })),
      h("div", { class: "buttons" }, h("button", { type: "submit", class: "primary" }, "Begin")),
    ], async ({ again, ...given }) => {
      if (again !== given.password) throw new Error("The two passwords differ.");
      app.signedIn(await call("POST", "/welcome", { token, ...given }));
    }));
}

export function invite() {
  dialog("Invite somebody", (close) => form({}, [
    field("Name", h("input", { name: "name", required: true, maxlength: 80, autofocus: true })),
    field("E-mail address", h("input", { name: "email", type: "email", required: true })),
    h("div", { class: "buttons" },
      h("button", { type: "submit", class: "primary" }, "Make a link"),
      h("button", { type: "button", class: "plain", onclick: close }, "Cancel")),
  ], async (given, element) => {
    const { link } = await call("POST", "/users/invitations", given);
    const text = h("input", { readonly: true, value: link });
    element.replaceWith(h("div", {},
      field(`Send this link to ${given.name}`, text, "it works once, within 7 days"),
      h("div", { class: "buttons" }, h("button", { type: "button", class: "primary", onclick: close }, "Done"))));
    text.select();
  }));
}

export async function activity() {
  const events = await call("GET", "/events?limit=200");
  const when = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  return h("div", { class: "page" },
    h("div", { class: "top" }, h("h1", {}, "Activity")),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Events" }, h("table", {},
      h("thead", {}, h("tr", {}, ...["When", "Who", "What", "On", "Details"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, ...events.map((event) => h("tr", {},
        h("td", {}, when.format(new Date(event.occurred_at))), h("td", {}, event.actor ?? "–"), h("td", {}, event.kind),
        h("td", {}, event.entity), h("td", {}, h("code", {}, JSON.stringify(event.payload)))))))));
}
