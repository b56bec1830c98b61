// Small things of the document that every part of the page uses.

import { page, styleOf } from "./state.js";

export const $ = (id) => document.getElementById(id);
export const still = matchMedia("(prefers-reduced-motion: reduce)");

/** A new element with properties and children. */
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** An item of a list: a button with a picture and a name, in the color of a type. */
export function tile(name, picture, onclick, type) {
  return element("li", {}, element("button", { title: name, style: styleOf(type), onclick }, picture, element("span", { textContent: name })));
}

let undone = null;

/** In the status line, and that of an open dialog; `undo` takes back what it says. */
export function say(text, undo = null) {
  for (const line of document.querySelectorAll("[role=status]")) line.textContent = text;
  undone = undo;
  for (const button of document.querySelectorAll(".undo")) button.hidden = !undo;
}

for (const button of document.querySelectorAll(".undo")) button.onclick = () => {
  const undo = undone;
  say("");
  undo();
};

export function fail(reason) {
  say(reason);
  [$("retry").hidden, $("loaded").value] = [false, 0];
}

export function download(file) {
  const link = element("a", { href: URL.createObjectURL(file), download: file.name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  say(`Saved as ${file.name}.`, undone);
}

/** Of the buttons of a grid, one is in the order of the Tab key, and the arrow keys go to the others. */
export function rove(grid) {
  const all = () => [...grid.querySelectorAll("button:enabled")];
  grid.addEventListener("focusin", ({ target }) => {
    if (target !== grid) all().forEach((each) => (each.tabIndex = each === target ? 0 : -1)); // what scrolls gets the focus, too
  });
  grid.addEventListener("keydown", (event) => {
    const buttons = all(), place = buttons.indexOf(event.target), each = grid.firstChild.querySelectorAll("button").length;
    const row = each * getComputedStyle(grid).gridTemplateColumns.split(" ").length, last = buttons.length - 1;
    const next = { ArrowLeft: place - 1, ArrowRight: place + 1, ArrowUp: place - row, ArrowDown: place + row, Home: 0, End: last }[event.key];
    if (next === undefined) return;
    event.preventDefault(); // it would scroll
    buttons[next]?.focus();
  });
}

/** Opens a dialog as a step of the history for Back; once it is closed, page.isSpare, the next step takes its place. */
export function openDialog(dialog) {
  if (dialog.open) return;
  if (!page.isSpare) history.pushState({ ...history.state, isSpare: true }, "");
  page.isSpare = true;
  dialog.showModal();
}

// A dialog closes where its button or the ground beside it is pressed.
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.querySelector(".close").onclick = () => dialog.close();
  dialog.addEventListener("click", ({ target }) => target === dialog && dialog.close());
}
