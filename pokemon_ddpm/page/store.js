// What the browser keeps: each sprite in a transaction of its own, and a message to the other tabs.

const SPRITES = "sprites";

const finished = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

let database = null, channel = null;

/**
 * Opens the collection of this page; without one, as in a frame of another origin, nothing is kept.
 * @param onChange Gets the id of a record that another tab changed, and the record, undefined if it is gone.
 */
export async function openStore(name, onChange) {
  try {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(SPRITES, { keyPath: "id" });
    database = await finished(request);
    channel = new BroadcastChannel(name);
    channel.onmessage = async ({ data: id }) => onChange(id, await finished(inStore("readonly").get(id)));
  } catch {
    database = null;
  }
}

const inStore = (mode) => database.transaction(SPRITES, mode).objectStore(SPRITES);

export const storedSprites = async () => (database ? finished(inStore("readonly").getAll()).catch(() => []) : []);

/** Keeps a record {id, ...}, in place of one with its id; false where there is no room. */
export const putSprite = (record) => change(record.id, (store) => store.put(record));

export const deleteSprite = (id) => change(id, (store) => store.delete(id));

async function change(id, make) {
  if (!database) return true; // said nowhere: nothing of this visit is kept then
  try {
    await finished(make(inStore("readwrite")));
    channel.postMessage(id);
    return true;
  } catch {
    return false;
  }
}
