// What a visitor asks for: types, attributes, and a description, whose words become chips.

import { parseDescription } from "./description.js";
import { $, element } from "./dom.js";
import { ANY, canMake, NONE } from "./recipe.js";
import { colorOf, page } from "./state.js";

const EXTRAS = { view: ["back", "from behind"], finish: ["shiny", "shiny"] }; // what a sprite is made into, and its chip
const LEFT_OUT = ["view", "finish", "relation", "pose"]; // no conditions that are chosen
export const CALLED = { legendary: { yes: "legendary", no: "not legendary" } };

let wish = ""; // the description that was read last
let wished = []; // the names of what it chose
let extras = new Set(); // of EXTRAS

export function addConditions() {
  if ($("types").querySelector("input")) return;
  const { vocabulary, own_classes: own } = page.config, { type: types, ...attributes } = vocabulary;
  const first = own ? types[Math.floor(Math.random() * types.length)] : ANY;
  for (const type of [...types, ANY]) {
    const input = element("input", { type: "radio", name: "type", value: type, checked: type === first });
    const label = element("label", {}, input, element("span", { textContent: type }));
    label.style.setProperty("--type", colorOf(type));
    $("types").append(label);
  }
  $("more").open = matchMedia("(min-width: 56rem)").matches;
  if (!own) addSelect("second type", [...types, NONE], { id: "second" });
  for (const [name, values] of Object.entries(attributes)) if (!LEFT_OUT.includes(name)) addSelect(name, values, { name });
  $("more").hidden = !$("attributes").hasChildNodes();
  $("wish").hidden = Boolean(own); // its words are those of Pokémon
}

/** An attribute has no id, since it can have any name. */
function addSelect(text, values, properties) {
  const select = element("select", properties, ...[ANY, ...values].map((value) => new Option(value)));
  $("attributes").append(element("label", {}, text, select));
}

const selectOf = (name) => (name === "second" ? $("second") : $("attributes").querySelector(`select[name="${name}"]`));
const chosenType = () => document.querySelector("input[name=type]:checked")?.value ?? ANY;

export function choose(name, value) {
  if (name in EXTRAS) extras[value === ANY ? "delete" : "add"](name);
  else if (name === "type") for (const input of document.querySelectorAll("input[name=type]")) input.checked = input.value === value;
  else selectOf(name).value = value;
}

/** Chooses the conditions of the description, in place of those of the one before; other choices stay. */
export function readWish() {
  if (!page.names || $("wish").value === wish) return; // the page may still be loading
  wish = $("wish").value;
  const { vocabulary } = page.config;
  const { conditions: { type = "", ...others }, unknown } = parseDescription(wish, vocabulary, page.words, page.config.sketches);
  const [first, second] = type.split("/"), found = Object.entries({ ...(first && { type: first }), ...(second && { second }), ...others });
  for (const name of wished) choose(name, ANY);
  const possible = found.filter(([name]) => !(name in EXTRAS) || canMake(EXTRAS[name][0], page.config));
  for (const [name, value] of possible) choose(name, value);
  wished = possible.map(([name]) => name);
  showChips(unknown.length || found.length || !wish.trim() ? unknown : [wish.trim()]); // it may be in letters that no word has
}

/** What is chosen by hand does not go with the description. */
export function chooseByHand({ target: { id, name } }) {
  wished = wished.filter((each) => each !== (id || name));
  showChips();
}

/** A button for each chosen value, which removes it, and the words that were not understood. */
export function showChips(unknown = []) {
  const selects = [...$("attributes").querySelectorAll("select")].filter(({ value }) => value !== ANY);
  const entries = selects.map(({ id, name, value }) => [id || name, CALLED[name]?.[value] ?? value]);
  if (wished.includes("type") && chosenType() !== ANY) entries.unshift(["type", chosenType()]);
  for (const name of extras) entries.push([name, EXTRAS[name][1]]);
  const chips = entries.map(([name, text]) => element("button", {
    textContent: `${text} ×`,
    ariaLabel: `Remove ${text}`,
    onclick() {
      choose(name, ANY);
      showChips();
      $(page.config.own_classes ? "generate" : "wish").focus();
    },
  }));
  $("chips").replaceChildren(...chips, ...(unknown.length ? [`Not understood: ${unknown.join(", ")}`] : []));
}

/** The conditions that are chosen, without those that are any, and what is made of the sprites. */
export function chosen() {
  const [first, second] = [chosenType(), $("second")?.value ?? ANY];
  const pair = first !== ANY && second !== ANY && first !== second;
  const type = pair ? `${first}/${second}` : first !== ANY || second === NONE ? first : second;
  const selects = [...$("attributes").querySelectorAll("select[name]")];
  const entries = [["type", type], ...selects.map(({ name, value }) => [name, value])];
  const conditions = Object.fromEntries(entries.filter(([, value]) => value !== ANY));
  return { conditions, makes: [...extras].map((name) => EXTRAS[name][0]) };
}

/** All choices, which a reload of the page brings back, and the same again. */
export const choices = () => ({
  wish, wished, extras: [...extras], type: chosenType(), wanted: $("wish").value,
  selects: [...$("attributes").querySelectorAll("select")].map(({ value }) => value),
});

export function restoreChoices(kept) {
  if (!kept) return;
  ({ wish, wished } = kept);
  extras = new Set(kept.extras);
  $("wish").value = kept.wanted;
  choose("type", kept.type);
  [...$("attributes").querySelectorAll("select")].forEach((select, i) => (select.value = kept.selects[i] ?? ANY));
  showChips();
}
