// The worker that runs the networks. It gets two requests at once, so that it never waits, and those that nobody waits for
// any more cost little.

let worker, last = [Promise.resolve(), Promise.resolve()], requests = 0;
const running = new Map(); // id -> what gets the messages of a request

/** Loads the networks and returns how they run; onProgress gets {name, loaded, total, retry} of each file. */
export function load(config, onProgress) {
  worker?.terminate();
  const own = new Worker("worker.js", { type: "module" });
  worker = own;
  return new Promise((resolve, reject) => {
    const end = (reason) => {
      own.terminate();
      if (worker === own) worker = null; // what it still says no longer counts
      for (const receive of running.values()) receive({ error: reason });
      reject(new Error(reason));
    };
    own.onmessage = ({ data }) => {
      if (worker !== own) return;
      if (data.backend) resolve(data.backend);
      else if (data.id) running.get(data.id)?.(data);
      else if (data.error) end(data.error);
      else onProgress(data);
    };
    own.onerror = () => end("The page cannot run here: a part of it could not be loaded.");
    own.postMessage({ config });
  });
}

/** Keeps what the worker has loaded for visits without a connection, in the cache of a service worker. */
export const keepFiles = ({ scope }) => worker?.postMessage({ scope });

/**
 * Makes a sprite: {pixels, score}, the score where the request, as of Sampler.sample, has asked, the conditions that were asked
 * for; or judges one, {judged}: {score, logits}. onStep gets the pixels after each step, and its number, from the noise as step 0.
 */
export function sample(request, onStep = () => {}, signal) {
  const made = last[0].then(() => {
    signal?.throwIfAborted();
    return ask(request, onStep, signal);
  });
  last = [last[1], made.catch(() => {})];
  return made;
}

function ask(request, onStep, signal) {
  const id = ++requests;
  return new Promise((resolve, reject) => {
    running.set(id, (message) => {
      if ("step" in message) return onStep(message.pixels, message.step);
      running.delete(id);
      if (message.error) reject(new Error(message.error));
      else resolve(message);
    });
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
    if (worker) worker.postMessage({ id, request });
    else reject(new Error("The model is not loaded."));
  });
}
