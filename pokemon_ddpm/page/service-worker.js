// Keeps the page, the model and the runtime, so that the page works offline after the first visit.

const { version, files, runtime, gif } = {{ page | tojson }};
const OWN = `pokemon-ddpm ${self.registration.scope} `; // other pages on the same host have caches of their own
const CACHE = `${OWN}${version}`, address = (file) => new URL(file, self.registration.scope).href;
const PAGE = files.map(address); // what the page has loaded before there was a service worker
const MODEL = ["unet.onnx", "conditioner.onnx", gif].map(address), ORT = address(runtime);
const MAX_WAIT = 60_000; // in milliseconds
const FRESH = { cache: "no-cache" }; // the browser's own cache may have files of an earlier version

const withoutQuery = (url) => url.split(/[?#]/)[0];
const isOurs = (url) => [...PAGE, ...MODEL].includes(url) || url.startsWith(ORT); // the host has other files, too

self.addEventListener("install", (event) => event.waitUntil(install()));
self.addEventListener("activate", (event) => {
  const clean = formerCaches().then((names) => Promise.all(names.map((name) => caches.delete(name))));
  event.waitUntil(clean.then(() => self.clients.claim()));
});
self.addEventListener("fetch", (event) => {
  if (event.request.method === "GET" && isOurs(withoutQuery(event.request.url))) event.respondWith(answer(event));
});

const formerCaches = async () => (await caches.keys()).filter((name) => name.startsWith(OWN) && name !== CACHE);

/** A new version also fetches what the one before has kept, whose cache goes, as far as that succeeds soon. */
async function install() {
  const former = (await formerCaches()).map(async (name) => (await caches.open(name)).keys());
  const kept = (await Promise.all(former)).flat().map(({ url }) => withoutQuery(url));
  const runtime = kept.map((url) => url.split("/").at(-1)).filter((name) => name.startsWith("ort")).map((name) => ORT + name);
  const cache = await caches.open(CACHE);
  await cache.addAll(PAGE.map((url) => new Request(url, FRESH)));
  const again = [...MODEL.filter((url) => kept.includes(url)), ...runtime].map((url) => cache.add(new Request(url, FRESH)).catch(() => {}));
  await Promise.race([Promise.all(again), new Promise((resolve) => setTimeout(resolve, MAX_WAIT))]);
  await self.skipWaiting();
}

async function answer(event) {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(event.request, { ignoreSearch: event.request.mode === "navigate" });
  if (kept) return kept;
  const response = await fetch(event.request, FRESH);
  if (response.ok) event.waitUntil(cache.put(event.request, response.clone()).catch(() => {})); // without room for it
  return response;
}
