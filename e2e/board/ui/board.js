// One board: lanes as columns, cards in them. Cards move by drag and drop, by Alt and the arrow keys, or in their dialog.

import { announce, avatar, dialog, field, form, h, notify } from "./dom.js";
import { call, createCard } from "./server.js";

export async function board(app, id) {
  const users = await call("GET", "/users");
  const root = h("div", { class: "wide", id: "board" });
  root.style.display = "contents";
  const view = { app, id, users, root, data: null, dragged: null };
  await reload(view);
  return root;
}

// Reads the board again and draws it; the focus stays on its card.
async function reload(view, focus) {
  view.data = await call("GET", `/boards/${view.id}`);
  const scrolled = view.root.querySelector(".lanes")?.scrollLeft ?? 0;
  view.root.replaceChildren(top(view), h("div", { class: "lanes" },
    ...view.data.lanes.map((lane) => drawLane(view, lane)), newLane(view)));
  view.root.querySelector(".lanes").scrollLeft = scrolled;
  if (focus) view.root.querySelector(focus)?.focus();
}

// A change, then the board as it is now. What fails is said, and the board shows the truth.
async function change(view, work, focus) {
  try {
    await work();
  } catch (problem) {
    if (problem.status === 401) { view.app.fail(problem); return; }
    notify(problem.message);
  }
  await reload(view, focus).catch(view.app.fail);
}

function top(view) {
  return h("div", { class: "top boardtop" },
    h("a", { href: "/" }, "Boards"), h("span", { class: "soft", "aria-hidden": "true" }, "/"), h("h1", {}, view.data.name),
    h("button", { type: "button", class: "icon", "aria-label": "Edit board", onclick: () => editBoard(view) }, "⋯"));
}

const cardsOf = (view, lane) => view.data.contents.filter((card) => card.lane_id === lane.id);

function drawLane(view, lane) {
  const cards = cardsOf(view, lane);
  const list = h("ol", { "aria-label": `Cards in ${lane.name}` }, ...cards.map((card) => drawCard(view, lane, card)));
  const element = h("section", { class: "lane", "aria-label": lane.name },
    h("header", {}, h("h2", {}, lane.name), h("span", { class: "count", "aria-label": `${cards.length} cards` }, cards.length),
      h("button", { type: "button", class: "icon", "aria-label": `Edit lane ${lane.name}`, onclick: () => editLane(view, lane) }, "⋯")),
    list, newCard(view, lane));
  const before = (event) => [...list.querySelectorAll(".card:not(.dragged)")]
    .find((card) => event.clientY < card.getBoundingClientRect().top + card.offsetHeight / 2);
  const unmark = () => {
    element.classList.remove("target");
    list.querySelector(".before")?.classList.remove("before");
  };
  element.addEventListener("dragover", (event) => {
    if (!view.dragged) return;
    event.preventDefault();
    unmark();
    element.classList.add("target");
    before(event)?.classList.add("before");
  });
  element.addEventListener("dragleave", (event) => { if (!element.contains(event.relatedTarget)) unmark(); });
  element.addEventListener("drop", (event) => {
    if (!view.dragged) return;
    event.preventDefault();
    const others = [...list.querySelectorAll(".card:not(.dragged)")];
    const next = before(event);
    unmark();
    move(view, view.dragged, lane, next ? others.indexOf(next) : others.length);
  });
  return element;
}

function drawCard(view, lane, card) {
  const assignee = view.users.find((user) => user.id === card.assignee_id);
  const element = h("div", {
    class: "card", tabindex: 0, draggable: "true", id: `card-${card.id}`, role: "button",
    "aria-label": `${card.title}${assignee ? `, ${assignee.name}` : ""}. Enter to edit, Alt and arrow keys to move.`,
    onclick: () => editCard(view, card),
    ondragstart: (event) => {
      view.dragged = card;
      event.dataTransfer.effectAllowed = "move";
      event.dataTransfer.setData("text/plain", card.title);
      element.classList.add("dragged");
    },
    ondragend: () => { view.dragged = null; element.classList.remove("dragged"); },
    onkeydown: (event) => onKey(view, lane, card, event),
  }, h("h3", {}, card.title), card.description ? h("p", {}, card.description) : null,
  card.due_on || assignee ? h("footer", {}, card.due_on ? due(card) : null, h("span", { class: "gap" }),
    assignee ? avatar(assignee, "small") : null) : null);
  return h("li", {}, element);
}

function due(card) {
  const date = new Date(`${card.due_on}T00:00:00`);
  const late = date < new Date(new Date().toDateString());
  const since = card.due_set_at ? `Since ${new Date(card.due_set_at).toLocaleString()}` : null;
  return h("span", { class: late ? "due late" : "due", title: since },
    `${late ? "Overdue" : "Due"} ${new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" }).format(date)}`);
}

function onKey(view, lane, card, event) {
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    editCard(view, card);
    return;
  }
  if (!event.altKey) return;
  const lanes = view.data.lanes;
  const index = cardsOf(view, lane).findIndex((other) => other.id === card.id);
  const beside = lanes[lanes.indexOf(lane) + { ArrowLeft: -1, ArrowRight: 1 }[event.key]];
  if (beside) move(view, card, beside, index);
  else if (event.key === "ArrowUp" && index > 0) move(view, card, lane, index - 1);
  else if (event.key === "ArrowDown") move(view, card, lane, index + 1);
  else return;
  event.preventDefault();
}

function move(view, card, lane, position) {
  return change(view, async () => {
    await call("POST", `/cards/${card.id}/move`, { lane_id: lane.id, position });
    announce(`${card.title} is in ${lane.name}, place ${position + 1}`);
  }, `#card-${card.id}`);
}

function newCard(view, lane) {
  const name = `new-${lane.id}`;
  return form({}, [
    h("input", { name: "title", id: name, placeholder: "Add a card…", "aria-label": `Add a card to ${lane.name}`, required: true, maxlength: 200, autocomplete: "off" }),
  ], async ({ title }, element) => {
    await createCard(lane.id, { title });
    delete element.dataset.dirty;
    await reload(view, `#${name}`);
  });
}

function newLane(view) {
  return h("div", { class: "newlane" }, form({}, [
    h("input", { name: "name", id: "new-lane", placeholder: "Add a lane…", "aria-label": "Add a lane", required: true, maxlength: 80, autocomplete: "off" }),
  ], async (given, element) => {
    await call("POST", `/boards/${view.id}/lanes`, given);
    delete element.dataset.dirty;
    await reload(view, "#new-lane");
  }));
}

// Buttons of a dialog that edits something; deleting asks once more, in the same place.
function buttons(close, remove) {
  const button = h("button", { type: "button", class: "danger" }, "Delete");
  button.addEventListener("click", () => {
    if (button.dataset.sure) { close(); remove(); return; }
    button.dataset.sure = "true";
    button.textContent = "Really delete?";
  });
  return h("div", { class: "buttons" }, h("button", { type: "submit", class: "primary" }, "Save"),
    h("button", { type: "button", class: "plain", onclick: close }, "Cancel"), h("span", { class: "gap" }), button);
}

function editCard(view, card) {
  const option = (value, name, chosen) => h("option", { value, selected: chosen }, name);
  const dates = view.app.about.dueDates
    ? field("Due", h("input", { name: "due_on", type: "date", value: card.due_on ?? "" })) : null;
  dialog("Card", (close) => form({}, [
    field("Title", h("input", { name: "title", required: true, maxlength: 200, value: card.title })),
    field("Description", h("textarea", { name: "description", maxlength: 10000, value: card.description })),
    h("div", { class: "row" },
      field("Lane", h("select", { name: "lane" }, ...view.data.lanes.map((lane) => option(lane.id, lane.name, lane.id === card.lane_id)))),
      field("Assignee", h("select", { name: "assignee" }, option("", "Nobody", !card.assignee_id),
        ...view.users.map((user) => option(user.id, user.name, user.id === card.assignee_id)))),
      dates),
    buttons(close, () => change(view, () => call("DELETE", `/cards/${card.id}`))),
  ], async (given) => {
    const edit = { title: given.title, description: given.description, assignee_id: Number(given.assignee) || null };
    if (dates) edit.due_on = given.due_on || null;
    await call("PATCH", `/cards/${card.id}`, edit);
    if (Number(given.lane) !== card.lane_id) await call("POST", `/cards/${card.id}/move`, { lane_id: Number(given.lane) });
    close();
    await reload(view, `#card-${card.id}`);
  }));
}

function editLane(view, lane) {
  const index = view.data.lanes.indexOf(lane);
  dialog("Lane", (close) => form({}, [
    h("div", { class: "row" },
      field("Name", h("input", { name: "name", required: true, maxlength: 80, value: lane.name })),
      field("Place", h("select", { name: "position" }, ...view.data.lanes.map((_, place) =>
        h("option", { value: place, selected: place === index }, place + 1))))),
    buttons(close, () => change(view, () => call("DELETE", `/lanes/${lane.id}`))),
  ], async (given) => {
    await call("PATCH", `/lanes/${lane.id}`, { name: given.name, position: Number(given.position) });
    close();
    await reload(view);
  }));
}

function editBoard(view) {
  dialog("Board", (close) => form({}, [
    field("Name", h("input", { name: "name", required: true, maxlength: 80, value: view.data.name })),
    buttons(close, () => call("DELETE", `/boards/${view.id}`).then(() => view.app.go("/"), view.app.fail)),
  ], async (given) => {
    await call("PATCH", `/boards/${view.id}`, given);
    close();
    await reload(view);
  }));
}
