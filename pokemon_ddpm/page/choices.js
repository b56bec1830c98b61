// What a visitor asks for: types, attributes, and a description, whose words become chips.

import { parseDescription, said } from "./description.js";
import { $, element } from "./dom.js";
import { ANY, canMake, NONE } from "./recipe.js";
import { page, styleOf } from "./state.js";

const EXTRAS = { view: ["back", "from behind"], finish: ["shiny", "shiny"] }; // what a sprite is made into, and its chip
const LEFT_OUT = ["view", "finish", "pose", "tags"]; // no conditions that are chosen from a list
const ASKED = { sketch: "drawn like", game: "style of", form: "special form" }; // names that say what is chosen
export const CALLED = { legendary: { yes: "legendary", no: "not legendary" } };

let wish = ""; // the description that was read last
let wished = []; // the names of what it chose
let denied = {}; // its denied phrases, and what they mean
let extras = new Set(); // of EXTRAS

export function addConditions() {
  if ($("types").querySelector("input")) return;
  const { vocabulary, own_classes: own } = page.config, { type: types, ...attributes } = vocabulary;
  const first = own ? types[Math.floor(Math.random() * types.length)] : ANY;
  for (const type of [...types, ANY]) {
    const input = element("input", { type: "radio", name: "type", value: type, checked: type === first });
    $("types").append(element("label", { style: styleOf(type) }, input, element("span", { textContent: type })));
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
  $("attributes").append(element("label", {}, ASKED[text] ?? text, select));
}

const radios = () => [...$("types").querySelectorAll("input")];
const selects = () => [...$("attributes").querySelectorAll("select")];
const chosenType = () => radios().find(({ checked }) => checked)?.value ?? ANY;

export function choose(name, value) {
  if (Object.hasOwn(EXTRAS, name)) extras[value === ANY ? "delete" : "add"](name);
  else if (name === "type") for (const radio of radios()) radio.checked = radio.value === value;
  else selects().find((select) => name === (select.id || select.name)).value = value;
}

/** Chooses the conditions of the description, in place of those of the one before; other choices stay. */
export function readWish() {
  if (!page.names || $("wish").value === wish) return; // the page may still be loading
  wish = $("wish").value;
  const { conditions, without, read, unknown } = parseDescription(wish, page.config, page.words);
  denied = without;
  const [type, second] = conditions.type?.split("/") ?? [];
  const found = Object.entries({ ...conditions, type, second }).filter(([, value]) => value);
  for (const name of wished) choose(name, ANY);
  const possible = found.filter(([name]) => !(name in EXTRAS) || canMake(EXTRAS[name][0], page.config));
  for (const [name, value] of possible) choose(name, value);
  wished = possible.map(([name]) => name);
  const isEmpty = !unknown.length && !found.length && !Object.keys(denied).length && wish.trim();
  showChips(isEmpty ? [wish.trim()] : unknown, read); // it may be in letters that no word has
}

/** What is chosen by hand does not go with the description. */
export function chooseByHand({ target: { id, name } }) {
  wished = wished.filter((attribute) => attribute !== (id || name));
  showChips();
}

/** A button for each chosen value, which removes it, the words that are read as others, and those that were not understood. */
export function showChips(unknown = [], read = {}) {
  const entries = selects().filter(({ value }) => value !== ANY).map(({ id, name, value }) => [id || name, CALLED[name]?.[value] ?? value]);
  if (wished.includes("type") && chosenType() !== ANY) entries.unshift(["type", chosenType()]);
  for (const name of extras) entries.push([name, EXTRAS[name][1]]);
  const texts = said(denied, page.words);
  for (const { phrase, text } of texts) entries.push([phrase, text]);
  const chips = entries.map(([name, text]) =>
    element("button", { textContent: `${text} ×`, ariaLabel: `Remove ${text}`, onclick: () => letGo(name) }));
  const groups = { "Not understood": unknown, "Not promised": texts.filter(({ isKept }) => !isKept).map(({ text }) => text) };
  const notes = Object.entries(groups).filter(([, words]) => words.length).map(([name, words]) => `${name}: ${words.join(", ")}`);
  notes.unshift(...Object.entries(read).map(([word, known]) => `${word}: ${known}?`));
  $("chips").replaceChildren(...notes.map((textContent) => element("span", { textContent })), ...chips);
}

function letGo(name) {
  if (Object.hasOwn(denied, name)) delete denied[name];
  else choose(name, ANY);
  showChips();
  $(page.config.own_classes ? "generate" : "wish").focus();
}

/** The conditions that are chosen, without those that are any, and what is made of the sprites. */
export function chosen() {
  const [first, second] = [chosenType(), $("second")?.value ?? ANY];
  const pair = first !== ANY && second !== ANY && first !== second;
  const type = pair ? `${first}/${second}` : first !== ANY || second === NONE ? first : second;
  const others = selects().filter(({ name }) => name).map(({ name, value }) => [name, value]);
  const conditions = Object.fromEntries([["type", type], ...others].filter(([, value]) => value !== ANY));
  const without = Object.values(denied).flatMap((values) => Object.entries(values));
  return { conditions, makes: [...extras].map((name) => EXTRAS[name][0]), without };
}

/** All choices, which a reload of the page brings back, and the same again. */
export const choices = () => ({
  wish, wished, denied, extras: [...extras], type: chosenType(), selects: selects().map(({ value }) => value),
  wanted: $("wish").value, // which may not be read yet
});

export function restoreChoices(kept) {
  ({ wish, wished, denied } = kept);
  extras = new Set(kept.extras);
  $("wish").value = kept.wanted;
  choose("type", kept.type);
  selects().forEach((select, i) => (select.value = kept.selects[i] ?? ANY));
  showChips();
}
