// The frame: who is signed in, which view the address means, the header.

import { avatar, h, icon } from "./dom.js";
import { call } from "./server.js";
import * as refresh from "./refresh.js";
import { activity, invite, login, welcome } from "./account.js";
import { boards } from "./boards.js";
import { board } from "./board.js";

const app = { about: null, user: null, go, signedIn, fail };

export function go(path, { replace = false } = {}) {
  if (refresh.isStale()) {
    location.assign(path);
    return;
  }
  history[replace ? "replaceState" : "pushState"](null, "", path);
  render();
}

function signedIn(user, path) {
  app.user = user;
  go(path ?? "/", { replace: true });
}

// What every view does with a problem that isn't its form's.
async function fail(problem) {
  if (problem.status === 401) {
    app.user = null;
    // How one signs in may be what has changed.
    app.about = await call("GET", "/about").catch(() => app.about);
    const back = location.pathname;
    go("/login", { replace: true });
    app.back = back;
    return;
  }
  show(h("div", { class: "page" }, h("div", { class: "empty" },
    h("h1", {}, problem.status === 404 ? "Not here" : "That did not work"),
    h("p", {}, problem.message),
    h("button", { type: "button", class: "plain", onclick: render }, "Try again"))));
}

function show(view, wide = false) {
  const main = document.getElementById("main");
  main.className = wide ? "wide" : "";
  main.replaceChildren(view);
}

async function render() {
  const path = location.pathname;
  header();
  try {
    if (path === "/welcome" && !app.about.sso) return show(await welcome(app));
    if (!app.user) {
      app.back = path === "/login" ? "/" : path;
      return show(login(app));
    }
    const number = path.match(/^\/boards\/(\d+)$/)?.[1];
    if (number) show(await board(app, Number(number)), true);
    else if (path === "/activity") show(await activity(app));
    else if (path === "/" || path === "/login") show(await boards(app));
    else throw Object.assign(new Error("There is no such page."), { status: 404 });
    document.title = `${document.querySelector("h1")?.textContent ?? "Board"} · ${app.about.tenant}`;
  } catch (problem) {
    fail(problem);
  }
}

function header() {
  const { about, user } = app;
  const element = document.getElementById("header");
  element.hidden = !user || location.pathname === "/welcome";
  if (element.hidden) return;
  const menu = h("details", { class: "menu" },
    h("summary", { "aria-label": `Menu of ${user.name}` }, h("span", { class: "name" }, user.name), avatar(user)),
    h("div", {},
      h("div", { class: "who" }, h("p", {}, h("strong", {}, user.name)), h("p", {}, user.email),
        h("p", {}, user.role === "owner" ? "Account owner" : "Member")),
      user.role === "owner" ? h("button", { type: "button", onclick: () => { menu.open = false; invite(); } }, "Invite somebody…") : null,
      user.role === "owner" ? h("a", { href: "/activity" }, "Activity") : null,
      h("button", { type: "button", onclick: logout }, "Sign out")));
  menu.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { menu.open = false; menu.querySelector("summary").focus(); }
  });
  element.replaceChildren(
    h("a", { class: "home", href: "/" }, icon(), h("span", {}, about.tenant)),
    about.edition ? h("span", { class: "chip" }, about.edition) : "",
    h("span", { class: "gap" }),
    h("span", { class: "chip", title: "Version" }, `v${document.documentElement.dataset.version}`),
    menu);
}

async function logout() {
  await call("POST", "/logout").catch(() => {});
  app.user = null;
  go("/login");
}

// Links within the application change the view, not the page.
addEventListener("click", (event) => {
  const open = document.querySelector("details.menu[open]");
  const link = event.target.closest?.("a[href^='/']");
  if (open && (link || !open.contains(event.target))) open.open = false;
  if (!link || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  go(link.getAttribute("href"));
});
addEventListener("popstate", render);
addEventListener("hashchange", () => { if (location.pathname === "/welcome") render(); });

async function begin() {
  refresh.start();
  try {
    app.about = await call("GET", "/about");
    app.user = await call("GET", "/session").catch((problem) => {
      if (problem.status === 401) return null;
      throw problem;
    });
  } catch (problem) {
    show(h("div", { class: "page" }, h("div", { class: "empty" }, h("h1", {}, "One moment"), h("p", {}, problem.message),
      h("button", { type: "button", class: "plain", onclick: begin }, "Try again"))));
    return;
  }
  document.title = `Board · ${app.about.tenant}`;
  render();
}

begin();
