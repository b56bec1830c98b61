// The cry of a creature, short and from its seed, by Web Audio; nothing sounds until it is asked for.

import { $ } from "./dom.js";
import { notesOf } from "./notes.js";
import { conditionsOf } from "./recipe.js";
import { page, typesOf } from "./state.js";

const WAVES = { sawtooth: ["dark", "dragon", "fire", "poison", "ground"], square: ["steel", "rock", "electric", "fighting", "bug"] };

let audio = null;

export function cry(sprite) {
  audio ??= new AudioContext();
  const [type] = typesOf(sprite), wave = Object.keys(WAVES).find((each) => WAVES[each].includes(type)) ?? "triangle";
  for (const [start, length, from, to] of notesOf(sprite.recipe, conditionsOf(sprite.recipe).size)) {
    const [tone, volume, begin] = [audio.createOscillator(), audio.createGain(), audio.currentTime + 0.02 + start];
    tone.type = wave;
    tone.frequency.setValueAtTime(from, begin);
    tone.frequency.exponentialRampToValueAtTime(to, begin + length);
    volume.gain.setValueAtTime(0.0001, begin);
    volume.gain.exponentialRampToValueAtTime(0.12, begin + 0.015);
    volume.gain.exponentialRampToValueAtTime(0.0001, begin + length);
    tone.connect(volume).connect(audio.destination);
    tone.start(begin);
    tone.stop(begin + length);
  }
}

$("cry").onclick = () => cry(page.shown);
