// Small things of the document that every part of the page uses.

export const $ = (id) => document.getElementById(id);
export const still = matchMedia("(prefers-reduced-motion: reduce)");

/** A new element with properties and children. */
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
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

export function download(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  say(`Saved as ${name}.`, undone);
}

/** Puts the focus back on a button that lost it when it was disabled. */
export function focusAgain(button) {
  if (document.activeElement === document.body) button.focus({ preventScroll: true });
}

/** Closes a dialog where its button or the ground beside it is pressed. */
export function closes(dialog) {
  dialog.querySelector(".close").onclick = () => dialog.close();
  dialog.addEventListener("click", ({ target }) => target === dialog && dialog.close());
}
