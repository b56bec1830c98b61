// Runs the networks, so that the page never freezes: first {config}, then {id, request} in; {id, pixels, step}, from noise as
// step 0, {id, pixels, score} or {id, error} out.

import { matchColors } from "./palettes.js";
import { Sampler } from "./sampling.js";
import { toSprite } from "./sprite.js";

const ATTEMPTS = 3, PATIENCE = 30_000; // in milliseconds

let progressed; // when the last part of a file came

/** Waits for a server as long as anything is loaded. */
function patiently(promise) {
  progressed = performance.now();
  return new Promise((resolve, reject) => {
    const check = () => performance.now() - progressed > PATIENCE && reject(new Error("the server does not answer"));
    const timer = setInterval(check, 1000);
    promise.then(resolve, reject).finally(() => clearInterval(timer));
  });
}

const nameOf = (file) => String(file).split("/").at(-1);

/** The bytes of a file, with the progress of its download; a broken one is tried again. */
async function download(file, integrity) {
  const name = nameOf(file);
  for (let attempt = 1; ; attempt++) {
    try {
      const response = await patiently(fetch(file, { integrity }));
      if (!response.ok) throw new Error(`status ${response.status}`);
      const isPacked = response.headers.get("content-encoding"), total = isPacked ? 0 : Number(response.headers.get("content-length"));
      const parts = [];
      let loaded = 0;
      for (const reader = response.body.getReader(); ; ) {
        const { done, value } = await patiently(reader.read());
        if (done) break;
        progressed = performance.now();
        parts.push(value);
        postMessage({ loaded: (loaded += value.length), total, name });
      }
      if (loaded < total) throw new Error("it is incomplete");
      return new Uint8Array(await new Blob(parts).arrayBuffer());
    } catch (error) {
      if (attempt === ATTEMPTS) throw new Error(`${name} cannot be downloaded: ${error.message}. Check the connection.`);
      postMessage({ retry: attempt, name });
      await new Promise((resolve) => setTimeout(resolve, 1000 * attempt));
    }
  }
}

/** A function from named arrays to those that the network returns. */
async function network(ort, name, file, providers) {
  const options = { executionProviders: providers, graphOptimizationLevel: "basic", logSeverityLevel: 3 }; // others take longer than they save
  const bytes = await file;
  const session = await ort.InferenceSession.create(bytes, options).catch(() => {
    throw new Error(`${name} is damaged, or this browser cannot run it.`);
  });
  const kinds = { Int32Array: "int32", Float32Array: "float32" };
  return async (inputs) => {
    const tensors = Object.entries(inputs).map(([name, [values, shape]]) => [name, new ort.Tensor(kinds[values.constructor.name], values, shape)]);
    const outputs = await session.run(Object.fromEntries(tensors));
    return Object.fromEntries(Object.entries(outputs).map(([name, { data }]) => [name, data]));
  };
}

/** Whether the browser has a graphics card for it: what imitates one takes minutes for a sprite. */
async function hasGraphics() {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  return Boolean(adapter) && !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter);
}

const moduleOf = (bytes) => URL.createObjectURL(new Blob([bytes], { type: "text/javascript" }));

async function load(config) {
  const isFast = await hasGraphics(), folder = new URL(config.runtime, self.location), part = `ort-wasm-simd-threaded${isFast ? ".asyncify" : ""}`;
  const runtime = [`ort.${isFast ? "webgpu" : "wasm"}.min.mjs`, `${part}.mjs`, `${part}.wasm`].map((name) => new URL(name, folder));
  const wanted = ["unet.onnx", "conditioner.onnx", ...runtime];
  for (const file of wanted) postMessage({ name: nameOf(file) }); // before the size of one of them is known
  const files = wanted.map((file) => download(file, config.integrity[nameOf(file)]));
  for (const file of files) file.catch(() => {}); // it fails where it is awaited
  const [main, glue, binary] = await Promise.all(files.slice(2)).catch(() => {
    throw new Error(`The runtime cannot be loaded from ${folder.host}, or is another one. Check the connection and try again.`);
  });
  const ort = await import(moduleOf(main));
  Object.assign(ort.env.wasm, { wasmPaths: { mjs: moduleOf(glue) }, wasmBinary: binary });
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(8, navigator.hardwareConcurrency) : 1;
  const conditioner = await network(ort, wanted[1], files[1], ["wasm"]); // the runtime begins while the larger file is loaded
  const unet = await network(ort, wanted[0], files[0], isFast ? ["webgpu", "wasm"] : ["wasm"]);
  if (self.caches) loaded = await Promise.all(wanted.map(async (file, i) => [file, await files[i]]));
  const threads = ort.env.wasm.numThreads; // the runtime sets it to 1 where it cannot start more
  postMessage({ backend: isFast ? "WebGPU" : `WebAssembly, threads: ${threads}` });
  return new Sampler(config, unet, conditioner);
}

/** Puts what was loaded into the cache of the service worker of a scope, which keeps only what it has fetched itself. */
async function keep(scope) {
  const name = (await caches.keys()).find((key) => key.startsWith(`pokemon-ddpm ${scope} `)), cache = await caches.open(name);
  for (const [url, bytes] of loaded.splice(0)) {
    if (!(await cache.match(url))) await cache.put(url, new Response(bytes)).catch(() => {}); // without room for it
  }
}

let sampler, queue = Promise.resolve(), loaded = [];

addEventListener("message", ({ data: { config, id, request, scope } }) => {
  if (scope) return keep(scope);
  if (!config) return (queue = queue.then(() => run(id, request)));
  sampler = load(config);
  sampler.catch((error) => postMessage({ error: String(error.message ?? error) }));
});

async function run(id, request) {
  try {
    const own = await sampler, { config } = own;
    if (request.judged) return postMessage({ id, ...(await own.judge(request.judged)) });
    let sample, step = 0;
    for await (sample of own.sample(request)) postMessage({ id, pixels: sample, step: step++ });
    const { like } = request, pixels = toSprite(like ? matchColors(sample, like, config.rules.palettes) : sample, config.sprite);
    postMessage({ id, pixels, score: request.asked && config.ranker ? await own.score(pixels, request.asked) : 0 });
  } catch (error) {
    postMessage({ id, error: String(error.message ?? error) });
  }
}
