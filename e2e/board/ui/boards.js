// All boards of the account.

import { dialog, field, form, h } from "./dom.js";
import { call } from "./server.js";

export async function boards(app) {
  const list = await call("GET", "/boards");
  const add = () => dialog("New board", (close) => form({}, [
    field("Name", h("input", { name: "name", required: true, maxlength: 80, autofocus: true })),
    h("div", { class: "buttons" },
      h("button", { type: "submit", class: "primary" }, "Create"),
      h("button", { type: "button", class: "plain", onclick: close }, "Cancel")),
  ], async (given) => {
    const board = await call("POST", "/boards", given);
    close();
    app.go(`/boards/${board.id}`);
  }));
  const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
  return h("div", { class: "page" },
    h("div", { class: "top" }, h("h1", {}, "Boards"), h("span", { class: "gap" }),
      list.length ? h("button", { type: "button", class: "primary", onclick: add }, "New board") : null),
    list.length
      ? h("ul", { class: "tiles" }, ...list.map((board) => h("li", {}, h("a", { href: `/boards/${board.id}` },
          h("h2", {}, board.name),
          h("p", {}, `${board.cards} ${board.cards === 1 ? "card" : "cards"} · since ${day.format(new Date(board.created_at))}`)))))
      : h("div", { class: "empty" }, h("p", {}, "There is no board yet."),
          h("button", { type: "button", class: "primary", onclick: add }, "Create the first board")));
}
