// The cry of a creature, short and from its seed, by Web Audio; nothing sounds until it is asked for.

import { sampleSeed } from "./random.js";
import { conditionsOf } from "./recipe.js";
import { typesOf } from "./state.js";

const WAVES = { sawtooth: ["dark", "dragon", "fire", "poison", "ground"], square: ["steel", "rock", "electric", "fighting", "bug"] };
const PITCH = { tiny: 2, small: 1.5, medium: 1, large: 0.7, huge: 0.5 }; // large ones are low

let audio = null;

/** [start, length, from, to] of each note, in seconds and hertz. */
export function notesOf({ seed, makes }, size = "medium") {
  const number = (part, count) => sampleSeed([seed, ...makes].join("."), `cry-${part}`, 0) % count;
  const base = (220 + 20 * number("base", 16)) * (PITCH[size] ?? 1), count = 2 + number("count", 2), notes = [];
  for (let i = 0, start = 0; i < count; i++) {
    const length = 0.08 + 0.04 * number(`length-${i}`, 4), from = base * 2 ** (number(`from-${i}`, 13) / 12);
    notes.push([start, length, from, base * 2 ** (number(`to-${i}`, 13) / 12)]);
    start += length + 0.02;
  }
  return notes;
}

export function cry(sprite) {
  audio ??= new AudioContext();
  const [type] = typesOf(sprite), wave = Object.keys(WAVES).find((form) => WAVES[form].includes(type)) ?? "triangle";
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
