// Samples of an exported four-step model: what PokemonDDPMPipeline does, with arrays in place of tensors.

import { squareOf } from "./pixels.js";
import { normal } from "./random.js";

const VARIATION = 0.6; // its strength

/** The ids of the conditioner, Int32Array: both types, the other attributes, and 1 for each given tag; what is not given is `any`. */
function conditionIds(vocabulary, conditions) {
  const [first = "any", second = "any"] = conditions.type?.split("/") ?? [];
  const ids = [first, second].map((name) => [...vocabulary.type, "none", "any"].indexOf(name));
  for (const [name, values] of Object.entries(vocabulary)) {
    const usual = name === "source" ? values[0] : "any"; // no image was without a source
    if (!["type", "tags", "sketch", "pose"].includes(name)) ids.push([...values, "any"].indexOf(conditions[name] ?? usual));
  }
  const { tags = [] } = vocabulary, given = conditions.tags?.split(" ") ?? [];
  ids.push(...given.map((tag) => (["any", ...tags].includes(tag) ? [] : -1)).flat(), ...tags.map((tag) => +given.includes(tag)));
  if (ids.includes(-1)) throw new Error(`Unknown conditions: ${JSON.stringify(conditions)}`);
  return Int32Array.from(ids);
}

/** Spherical interpolation of two samples of Gaussian noise, which keeps their length (Shoemake 1985). */
function slerp(a, b, share) {
  const dot = (one, two) => one.reduce((sum, value, i) => sum + value * two[i], 0);
  const angle = Math.acos(Math.min(1, Math.max(-1, dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b)))));
  if (angle < 1e-6) return lerp(a, b, share);
  const [first, second] = [1 - share, share].map((part) => Math.sin(part * angle) / Math.sin(angle));
  return a.map((value, i) => first * value + second * b[i]);
}

const lerp = (a, b, share) => a.map((value, i) => value + share * (b[i] - value));

/** RGBA pixels (S * S * 4) to channels (4, S, S) in [-1, 1]. */
function toChannels(pixels) {
  const size = pixels.length / 4;
  return Float32Array.from({ length: pixels.length }, (_, i) => pixels[(i % size) * 4 + Math.floor(i / size)] / 127.5 - 1);
}

/** Channels (4, S, S) to RGBA pixels with an alpha of 0 or 255, white where it is 0; for the colors see compress_range in Python. */
export function toPixels(channels, quantile) {
  const size = channels.length / 4, side = Math.sqrt(size);
  const values = channels.subarray(0, 3 * size).filter((_, i) => channels[3 * size + (i % size)] > 0).map(Math.abs).sort();
  const place = quantile * (values.length - 1), low = Math.floor(place), next = values[low + 1] ?? values[low];
  const white = Math.max(1, values[low] + (place - low) * (next - values[low]) || 1);
  const color = (v) => 127.5 * (1 + (v * (1 + Math.abs(v) / white ** 2)) / (1 + Math.abs(v)));
  return squareOf(side, (x, y) => { // which rounds and clips
    const [red, green, blue, alpha] = [0, 1, 2, 3].map((c) => channels[c * size + y * side + x]);
    return alpha > 0 && [red, green, blue].map(color);
  });
}

export class Sampler {
  /** Of the export's config.json, and functions from named arrays {name: [array, shape]} to {name: Float32Array}. */
  constructor(config, unet, conditioner) {
    Object.assign(this, { config, unet, conditioner, size: config.sample_shape.reduce((a, b) => a * b) });
  }

  async embedding(conditions) {
    const ids = conditionIds(this.config.vocabulary, conditions);
    return (await this.conditioner({ ids: [ids, [1, ids.length]] })).class_labels;
  }

  /** What the network returns for one sample. */
  predict(sample, timestep, labels) {
    return this.unet({
      sample: [sample, [1, ...this.config.sample_shape]],
      timestep: [Float32Array.of(timestep), [1]],
      class_labels: [labels, [1, labels.length]],
    });
  }

  /** The score of a sprite, RGBA pixels, whatever was asked for, and the logits of each probe. */
  async judge(pixels) {
    const { scaling_factor: scale, ranker, vocabulary } = this.config, labels = await this.embedding({});
    const clean = toChannels(pixels).map((value) => scale * value), noise = normal(this.size, 0);
    const [alpha, sigma] = [Math.sqrt(ranker.alpha_bar), Math.sqrt(1 - ranker.alpha_bar)];
    const noisy = clean.map((value, i) => alpha * value + sigma * noise[i]);
    const { prediction, activations_scores: scores } = await this.predict(noisy, ranker.timestep, labels);
    const error = prediction.reduce((sum, value, i) => sum + (value - clean[i]) ** 2, 0) / this.size;
    const [score, ...logits] = [...scores].map((value, i) => value + ranker.error_weights[i] * Math.log(error));
    return { score, logits: Object.fromEntries(ranker.probes.map((name) => [name, logits.splice(0, vocabulary[name].length)])) };
  }

  /** The score of a sprite for the conditions that were asked for; see SpriteRanker in ranking.py. */
  async score(pixels, asked) {
    const { ranker, vocabulary } = this.config, { score, logits } = await this.judge(pixels);
    let total = score;
    for (const [name, own] of Object.entries(logits)) {
      const tags = name === "tags" ? (asked.tags ?? "").split(" ").map((tag) => vocabulary.tags.indexOf(tag)).filter((id) => id >= 0) : [];
      const place = vocabulary[name].indexOf(asked[name]);
      for (const id of tags) total -= (ranker.match_weight * Math.log(1 + Math.exp(-own[id]))) / tags.length;
      if (name !== "tags" && place >= 0) total -= ranker.match_weight * Math.log(own.reduce((sum, value) => sum + Math.exp(value - own[place]), 0));
    }
    return total;
  }

  /**
   * Yields the noise, then the clean image as predicted in each step, RGBA pixels; the last one is the sample.
   * @param request conditions and seed; if wanted, image, pixels to begin from, with strength; viewScale, how strong the view is;
   *   towards, {conditions, seed}, with share of the way, 0 to 1.
   */
  async *sample({ conditions, seed, image, strength = VARIATION, viewScale, towards, share }) {
    const { config } = this, given = { ...config.default_conditions, ...conditions };
    let labels = await this.embedding(given);
    if (viewScale) labels = lerp(await this.embedding({ ...given, view: "any" }), labels, viewScale);
    let noise = normal(this.size, seed);
    if (towards) {
      labels = lerp(labels, await this.embedding({ ...config.default_conditions, ...towards.conditions }), share);
      noise = slerp(noise, normal(this.size, towards.seed), share);
    }
    const count = config.timesteps.length, start = image ? count - Math.max(1, Math.floor(count * strength)) : 0;
    const [alpha, sigma] = [config.alpha_bar.map(Math.sqrt), config.alpha_bar.map((value) => Math.sqrt(1 - value))];
    let sample = noise;
    if (image) sample = toChannels(image).map((value, i) => alpha[start] * config.scaling_factor * value + sigma[start] * noise[i]);
    yield toPixels(sample, config.white_quantile);
    for (let step = start; step < count; step++) {
      const { prediction } = await this.predict(sample, config.timesteps[step], labels);
      const predicted = originalSample(config.prediction_type, prediction, sample, alpha[step], sigma[step]);
      yield toPixels(predicted.map((value) => value / config.scaling_factor), config.white_quantile);
      const [nextAlpha, nextSigma] = step + 1 < count ? [alpha[step + 1], sigma[step + 1]] : [1, 0];
      // DDIM (Song et al. 2021, equation 12)
      sample = sample.map((value, i) => nextAlpha * predicted[i] + (nextSigma / sigma[step]) * (value - alpha[step] * predicted[i]));
    }
  }
}

/** x_0 from the network's output at x_t = alpha x_0 + sigma epsilon. */
function originalSample(kind, output, sample, alpha, sigma) {
  if (kind === "sample") return output;
  if (kind === "v_prediction") return sample.map((value, i) => alpha * value - sigma * output[i]);
  return sample.map((value, i) => (value - sigma * output[i]) / alpha);
}
