// Takes up a new release. The page asks which version runs; when it isn't its own, it says so, and reloads itself at the
// next navigation, or when nobody has touched it for a while. Never while a form holds unsaved input.

import { notify } from "./dom.js";

const own = document.documentElement.dataset.version;
let idleMinutes = 25;
let pollSeconds = 60;
let stale = false;
let touched = Date.now();

export const isStale = () => stale;
const hasUnsavedInput = () => document.querySelector("form[data-dirty]") !== null;

async function poll() {
  try {
    const response = await fetch("/version.json", { cache: "no-store" });
    if (response.ok) {
      const current = await response.json();
      idleMinutes = current.idleMinutes ?? idleMinutes;
      pollSeconds = current.pollSeconds ?? pollSeconds;
      stale = current.version !== own;
      if (stale && document.getElementById("notice").hidden) {
        notify("A new version is available", { name: "Refresh", run: () => location.reload() });
      }
    }
  } catch {
    // The next poll will tell.
  }
  setTimeout(poll, Math.max(1, pollSeconds) * 1000);
}

export function start() {
  for (const kind of ["pointerdown", "pointermove", "keydown", "wheel", "touchstart"]) {
    addEventListener(kind, () => { touched = Date.now(); }, { passive: true, capture: true });
  }
  setInterval(() => {
    if (stale && Date.now() - touched >= idleMinutes * 60_000 && !hasUnsavedInput()) location.reload();
  }, 1000);
  poll();
}
