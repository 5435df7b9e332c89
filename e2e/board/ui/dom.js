// Elements from data. Text is always set as text: nothing that a user typed is ever parsed as HTML.

export function h(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const icon = () => {
  const link = document.querySelector('link[rel="icon"]');
  return h("img", { src: link.getAttribute("href"), alt: "" });
};

export function field(label, input, hint) {
  return h("label", {}, label, hint ? h("small", {}, ` ${hint}`) : null, input);
}

// A form that says what went wrong, and can't be sent twice at once. `send` gets the fields by name.
export function form(properties, fields, send) {
  const error = h("p", { class: "error", role: "alert" });
  const element = h("form", { ...properties, novalidate: true }, ...fields);
  const buttons = element.querySelector(".buttons");
  if (buttons) buttons.before(error);
  else element.append(error);
  const content = () => JSON.stringify([...new FormData(element)]);
  const saved = content();
  element.addEventListener("input", () => {
    if (content() === saved) delete element.dataset.dirty;
    else element.dataset.dirty = "true";
  });
  element.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = element.querySelector("[type=submit]");
    const invalid = element.querySelector(":invalid");
    if (invalid) {
      error.textContent = invalid.validationMessage;
      invalid.focus();
      return;
    }
    error.textContent = "";
    if (button) button.disabled = true;
    try {
      await send(Object.fromEntries(new FormData(element)), element);
      delete element.dataset.dirty;
    } catch (problem) {
      error.textContent = problem.message;
    } finally {
      if (button) button.disabled = false;
    }
  });
  return element;
}

// Opens a modal dialog; `content` gets a function that closes it.
export function dialog(title, content) {
  const element = h("dialog", { "aria-label": title });
  const close = () => element.close();
  element.append(h("h2", {}, title), content(close));
  element.addEventListener("close", () => element.remove());
  document.body.append(element);
  element.showModal();
  return element;
}

export function announce(text) {
  document.getElementById("live").textContent = text;
}

let hiding;
export function notify(text, action) {
  clearTimeout(hiding);
  const notice = document.getElementById("notice");
  notice.replaceChildren(text, ...(action ? [h("button", { type: "button", onclick: action.run }, action.name)] : []));
  notice.hidden = false;
  if (!action) hiding = setTimeout(() => { notice.hidden = true; }, 6000);
}

export const initials = (name) =>
  name.split(/\s+/).filter(Boolean).map((part) => [...part][0].toUpperCase()).slice(0, 2).join("");

export const avatar = (user, size) =>
  h("span", { class: `avatar ${size ?? ""}`, title: user.name, role: "img", "aria-label": user.name }, initials(user.name));
