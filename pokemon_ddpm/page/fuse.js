// Two creatures become one: the head of one on the body of the other, varied, the best of some.

import { part } from "./card-dialog.js";
import { openChoice } from "./choice-dialog.js";
import { $, say } from "./dom.js";
import { generate, someTypes, work } from "./making.js";
import { sample } from "./model.js";
import { range } from "./pixels.js";
import { sampleSeed } from "./random.js";
import { colorsOf, fused } from "./recipe.js";
import { canFuse } from "./stage.js";
import { idOf, nameOf, page } from "./state.js";

const VARIATIONS = 8, CHILDREN = 3;

$("fuse").onclick = async () => {
  const one = page.shown, [type] = someTypes(1);
  let other = page.made.find((each) => canFuse(each) && idOf(each) === $("partner").value);
  if (!other) [other] = (await generate([{ type }], "A partner is about to hatch")) ?? [];
  if (!other?.pixels) return;
  const parents = [one, other].map((each) => ({ name: nameOf(each), pixels: each.pixels }));
  await work(`Fusing ${nameOf(one)} and ${nameOf(other)}`, async (signal) => {
    const recipe = fused(one.recipe, other.recipe, Number($("body").value)), { ranker } = page.config, children = [];
    for (const i of range(ranker ? VARIATIONS : CHILDREN)) {
      const own = sampleSeed(recipe.seed, `fused-${recipe.to.seed}`, i), child = await part({ ...recipe, makes: [`vary-${own}`] }, {}, signal);
      const { score } = ranker ? await sample({ judged: child.pixels }, undefined, signal) : { score: 0 };
      if (child.pixels.some((value, place) => place % 4 === 3 && value)) children.push({ ...child, parents, score });
      say(`Fusing: ${i + 1}`);
    }
    children.sort((a, b) => b.score - a.score);
    openChoice("Choose their child", children.slice(0, CHILDREN), (child) => say(`${parents[0].name} and ${parents[1].name} are now ${nameOf(child)}.`));
    say("");
  });
};
$("body").oninput = () => ($("colors").value = colorsOf(Number($("body").value)));
