// Keeps the page, the model and the runtime, so that the page works offline after the first visit.

const OWN = `pokemon-ddpm ${self.registration.scope} `; // other pages on the same host have caches of their own
const CACHE = `${OWN}VERSION`;
const PAGE = "FILES".split(" "); // what the page has loaded before there was a service worker
const FRESH = { cache: "no-cache" }; // the browser's own cache may have files of an earlier version

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(PAGE.map((file) => new Request(file, FRESH)))).then(() => self.skipWaiting()));
});
self.addEventListener("activate", (event) => {
  const former = (names) => names.filter((name) => name.startsWith(OWN) && name !== CACHE);
  const clean = caches.keys().then((names) => Promise.all(former(names).map((name) => caches.delete(name))));
  event.waitUntil(clean.then(() => self.clients.claim()));
});
self.addEventListener("fetch", (event) => {
  if (event.request.method === "GET") event.respondWith(answer(event.request));
});

async function answer(request) {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(request, { ignoreSearch: request.mode === "navigate" });
  if (kept) return kept;
  const response = await fetch(request, FRESH);
  if (response.ok) await cache.put(request, response.clone()).catch(() => {}); // without room for it
  return response;
}
