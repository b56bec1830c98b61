// What the browser keeps: each sprite in a transaction of its own, and a message to the other tabs.

const SPRITES = "sprites";

const resultOf = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

let database = null, channel = null;

/**
 * Opens the collection of this page and returns its records; where that is denied, as in a frame of another origin, none.
 * onChange gets the id of a record that another tab changed, and the record, undefined if it is gone.
 */
export async function openStore(name, idOf, onChange) {
  try {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(SPRITES, { keyPath: "id" });
    database = await resultOf(request);
    channel = new BroadcastChannel(name);
    channel.onmessage = async ({ data: id }) => onChange(id, await resultOf(inStore("readonly").get(id)));
    return await renewed(idOf);
  } catch {
    database = null;
    return [];
  }
}

/** All records, under their ids of today; what two of one sprite have stays. */
async function renewed(idOf) {
  const store = inStore("readwrite"), found = new Map(), records = await resultOf(store.getAll());
  for (const record of records) {
    const id = idOf(record), { heart, name } = found.get(id) ?? {};
    found.set(id, { ...record, id, heart: record.heart || heart, name: record.name || name });
  }
  if (records.some(({ id }) => !found.has(id))) {
    store.clear();
    for (const record of found.values()) store.put(record);
  }
  return [...found.values()];
}

const inStore = (mode) => database.transaction(SPRITES, mode).objectStore(SPRITES);

/** Keeps a record {id, ...}, in place of one with its id; false where there is no room, or nothing is kept. */
export const putSprite = (record) => change(record.id, (store) => store.put(record));

export const deleteSprite = (id) => change(id, (store) => store.delete(id));

async function change(id, make) {
  try {
    await resultOf(make(inStore("readwrite")));
    channel.postMessage(id);
    return true;
  } catch {
    return false;
  }
}
