// Two creatures become one: the head of one on the body of the other, varied, the best of some.

import { first } from "./creature.js";
import { $, say } from "./dom.js";
import { keep } from "./list.js";
import { generate, someTypes, spriteOf, work } from "./making.js";
import { sample } from "./model.js";
import { sampleSeed } from "./random.js";
import { conditionsOf, fused } from "./recipe.js";
import { canFuse, open } from "./stage.js";
import { idOf, nameOf, page } from "./state.js";

const VARIATIONS = 8;

$("fuse").onclick = async () => {
  const one = page.shown, [type] = someTypes(1);
  let other = page.made.find((each) => canFuse(each) && idOf(each) === $("partner").value);
  if (!other) [other] = (await generate([{ type }], "A partner is about to hatch")) ?? [];
  if (!other?.pixels) return;
  await work(`Fusing ${nameOf(one)} and ${nameOf(other)}`, async (signal) => {
    const recipe = fused(one.recipe, other.recipe, Number($("body").value)), { seed, to } = recipe, conditions = conditionsOf(recipe);
    const count = page.config.ranker ? VARIATIONS : 1;
    const image = await first(recipe, page.config, async (request) => (await sample(request, undefined, signal)).pixels);
    let best = { score: -Infinity };
    for (let i = 0; i < count; i++) {
      const own = sampleSeed(seed, `fused-${to.seed}`, i);
      const { pixels, score } = await sample({ conditions, image, seed: own, asked: {} }, undefined, signal);
      if (pixels.some((value, place) => place % 4 === 3 && value) && score > best.score) best = { score, own };
      say(`Fusing: ${i + 1} of ${count}`);
    }
    const sprite = await spriteOf({ ...recipe, makes: [`vary-${best.own}`] }, signal);
    sprite.parents = [one, other].map((each) => ({ name: nameOf(each), pixels: each.pixels }));
    await keep(sprite);
    open(sprite);
    say(`${nameOf(one)} and ${nameOf(other)} are now ${nameOf(sprite)}.`);
  });
};
