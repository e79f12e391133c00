// One file to the server: as one POST, or in parts straight to object storage. What breaks is tried again; parts that
// have arrived are not sent twice, and an upload that was begun before a reload goes on where it was.
import { store, word } from "./kit.js";

const TRIES = 6;
const FIRST_PAUSE = 1000;
const LONGEST_PAUSE = 30_000;
const STALL = 60_000; // without a byte of progress
const ANSWER = 120_000; // after the last byte
const MOST_REMEMBERED = 200;
const TAKEN = new Set([200, 201, 202]);
const LASTING = new Set([400, 403, 404, 413, 415, 422]);

/** The server will not take this file, however often it is sent. */
export class Refused extends Error {}

/** `options`: api (address of the collections), uploads (address of direct uploads), user. */
export function sender({ api, uploads, user }) {
  const memory = remembered(`uploads:${user}`);
  let straight = Boolean(uploads); // whether the browser sends to storage itself
  let reached = false; // whether storage ever answered this page

  /** The server's JSON of the picture. Throws Refused, or an Error after the last try. `on.sent` hears of the share that
   *  is there, `on.waiting` of a pause before the next try (true) and its end (false). */
  async function send(file, { collection, hash, on }) {
    if (straight && hash) {
      const done = await sendParts(file, collection, hash, on);
      if (done) return done;
    }
    return sendWhole(file, collection, hash, on);
  }

  async function sendWhole(file, collection, hash, on) {
    const body = new FormData();
    body.set("file", file, file.name);
    if (hash) body.set("sha256", hash);
    let broke = false;
    const answer = await persist(on, async () => {
      const given = await ask("POST", `${api}${collection}/images/`, { body, sent: on.sent });
      broke ||= given.status === 0;
      return given;
    });
    // The first copy may have arrived although its answer did not: then it is no duplicate.
    return broke ? { ...answer, duplicate: false } : answer;
  }

  /** null where this way is closed: the server keeps files itself, or the browser cannot reach the storage. */
  async function sendParts(file, collection, hash, on) {
    let upload = await opened(file, collection, hash, on);
    let completing = false;
    for (let tries = 0; upload && tries < TRIES; ) {
      const before = received(upload);
      const status = await putParts(file, upload, on);
      if (status === 200) {
        completing = true;
        const answer = await ask("POST", `${uploads}${upload.id}/complete/`, {});
        if (TAKEN.has(answer.status)) return memory.forget(collection, hash), answer.json;
        if (LASTING.has(answer.status)) memory.forget(collection, hash);
        if (LASTING.has(answer.status) && answer.status !== 404) throw new Refused(answer.json?.detail || word("failed"));
      }
      tries = received(upload) > before ? 1 : tries + 1;
      if (status === 0 && !reached && tries >= 3) return (straight = false), null;
      if (tries < TRIES) await pause(tries - 1, 0, on);
      // It may have been completed although the answer did not arrive.
      const there = completing && (await known(collection, hash, on));
      if (there) return memory.forget(collection, hash), { id: there, state: "stored", duplicate: false };
      upload = await opened(file, collection, hash, on);
    }
    if (!upload) return null;
    throw new Error(word("offline"));
  }

  /** PUT what is missing, in order; 200 once all is there, else the status that stopped it. */
  async function putParts(file, upload, on) {
    let start = 0;
    for (const part of upload.parts) {
      const end = start + part.size;
      if (!part.received) {
        const at = start;
        const sent = (share) => on.sent((at + share * part.size) / file.size);
        const { status } = await ask("PUT", part.url, { body: file.slice(start, end), sent, foreign: true });
        reached ||= status > 0;
        if (status !== 200) return status;
        part.received = true;
      }
      on.sent(end / file.size);
      start = end;
    }
    return 200;
  }

  /** The direct upload of these bytes: the one that was begun before, or a new one; null where the server has none. */
  async function opened(file, collection, hash, on) {
    const begun = memory.recall(collection, hash);
    if (begun) {
      const found = await persist(on, () => ask("GET", `${uploads}${begun}/`, {}), new Set([404]));
      if (found) return found;
      memory.forget(collection, hash);
    }
    const wanted = { file_name: file.name, size: file.size, sha256: hash };
    const made = await persist(on, () => ask("POST", `${api}${collection}/uploads/`, { json: wanted }), new Set([409]));
    if (made) memory.remember(collection, hash, { id: made.id, until: made.expires_at, name: file.name });
    else straight = false;
    return made;
  }

  async function known(collection, hash, on) {
    const asked = () => ask("POST", `${api}${collection}/images/check/`, { json: { sha256: [hash] } });
    return (await persist(on, asked)).known[0]?.id;
  }

  return { send, interrupted: memory.names, forget: memory.clear };
}

const received = (upload) => upload.parts.filter((part) => part.received).length;

/** Ask until there is an answer that counts; null for a status among `none`. */
async function persist(on, request, none = new Set()) {
  for (let tries = 0; ; tries++) {
    const { status, json, after } = await request();
    if (TAKEN.has(status)) return json;
    if (none.has(status)) return null;
    if (LASTING.has(status)) throw new Refused(json?.detail || word("failed"));
    if (tries + 1 >= TRIES) throw new Error(json?.detail || (status ? word("failed") : word("offline")));
    await pause(tries, after, on);
  }
}

/** Longer each time, as long as the server asks for, and over at once when the network comes back. */
async function pause(tries, after, on) {
  const wait = Math.min(Math.max(FIRST_PAUSE * 2 ** tries * (0.8 + 0.4 * Math.random()), after * 1000), LONGEST_PAUSE);
  on.waiting(true);
  await new Promise((resolve) => {
    const timer = setTimeout(over, wait);
    addEventListener("online", over);
    function over() {
      clearTimeout(timer);
      removeEventListener("online", over);
      resolve();
    }
  });
  on.waiting(false);
}

/** {status, json, after}: status 0 where no answer came, `after` the seconds that the server asks to wait. */
function ask(method, address, { body = null, json = null, sent = null, foreign = false }) {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    let timer = setTimeout(() => request.abort(), ANSWER);
    const patience = (time) => { clearTimeout(timer); timer = setTimeout(() => request.abort(), time); };
    request.open(method, address);
    if (!foreign) {
      request.responseType = "json";
      request.setRequestHeader("Accept", "application/json");
      request.setRequestHeader("X-CSRFToken", document.body.dataset.csrf);
    }
    if (json) request.setRequestHeader("Content-Type", "application/json");
    if (sent) {
      request.upload.addEventListener("progress", (event) => { patience(STALL); sent(event.loaded / (event.total || 1)); });
      request.upload.addEventListener("load", () => patience(ANSWER));
    }
    request.addEventListener("loadend", () => {
      clearTimeout(timer);
      const after = foreign ? 0 : Number(request.getResponseHeader("Retry-After")) || 0;
      resolve({ status: request.status, json: foreign ? null : request.response, after });
    });
    request.send(json ? JSON.stringify(json) : body);
  });
}

/** Uploads that were begun, by collection and SHA-256, kept in this browser until the server forgets them. */
function remembered(key) {
  const read = () => {
    let kept = {};
    try { kept = JSON.parse(store.get(key)) ?? {}; } catch { /* written by something else */ }
    return Object.fromEntries(Object.entries(kept).filter(([, one]) => Date.parse(one?.until) > Date.now()));
  };
  const write = (kept) => store.set(key, JSON.stringify(Object.fromEntries(Object.entries(kept).slice(-MOST_REMEMBERED))));
  return {
    recall: (collection, hash) => read()[`${collection}/${hash}`]?.id ?? null,
    remember: (collection, hash, one) => write({ ...read(), [`${collection}/${hash}`]: one }),
    forget(collection, hash) {
      const kept = read();
      delete kept[`${collection}/${hash}`];
      write(kept);
    },
    names: () => Object.values(read()).map((one) => one.name),
    clear: () => write({}),
  };
}
