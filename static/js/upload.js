// Uploading: hash in a worker, ask which files are known, send the others three at a time, watch until searchable.
import { $, $$, api, toast, word } from "./kit.js";
import { Refused, sender } from "./sending.js";

const AT_ONCE = 3;
const HASHED_AHEAD = 20;
const MOST_FILES = 2000;
const MOST_ASKED = 80; // so that the address stays below 4 KB
const LOOK_FIRST = 500;
const LOOK_EVERY = 1500;
const LOOK_SELDOM = 15_000;
const LOOK_UNTIL = 20 * 60_000; // without any news
const root = $("#uploader");
const said = (name) => $("#states").dataset[name];
const target = $("#target");
const files = []; // every file that was ever chosen, in order
const server = root && sender(root.dataset);

const TONES = { searchable: "ok", duplicate: "info", ready: "info", review: "warn", rejected: "bad", failed: "bad" };
const OVER = new Set(["searchable", "review", "duplicate", "rejected", "failed", "removed"]);
const LEAVING_LOSES = new Set(["waiting", "hashing", "known", "sending"]);

// ── Rows ────────────────────────────────────────────────────────────────────────────────────────────────────

function addRow(item) {
  const row = $("#row-template").content.firstElementChild.cloneNode(true);
  $(".name", row).textContent = item.file.webkitRelativePath || item.file.name;
  $(".size", row).textContent = size(item.file.size);
  const thumb = $(".thumb", row);
  thumb.loading = "lazy";
  thumb.src = URL.createObjectURL(item.file);
  thumb.addEventListener("error", () => { thumb.classList.add("none"); thumb.src = "data:,"; }, { once: true });
  thumb.addEventListener("load", () => URL.revokeObjectURL(thumb.src), { once: true });
  $("[data-retry]", row).addEventListener("click", () => retry([item]));
  item.row = row;
  $("#list").append(row);
}

function size(bytes) {
  const unit = bytes < 1024 ? ["byte", 1] : bytes < 1024 ** 2 ? ["kilobyte", 1024] : ["megabyte", 1024 ** 2];
  return new Intl.NumberFormat(document.documentElement.lang, { style: "unit", unit: unit[0], maximumFractionDigits: 1 }).format(bytes / unit[1]);
}

function set(item, state, reason = "") {
  item.state = state;
  const badge = $(".badge", item.row);
  badge.className = `badge ${TONES[state] ?? ""}`;
  badge.textContent = said(state);
  $(".said", item.row).textContent = reason;
  $("[data-retry]", item.row).hidden = state !== "failed";
  $("progress", item.row).hidden = state !== "sending";
  item.row.dataset.state = state;
  if (item.uid && !$("a", item.row)) {
    const link = document.createElement("a");
    link.href = `/images/${item.uid}/`;
    link.textContent = said("show");
    $(".detail", item.row).append(link);
  }
  total();
}

const SHARE = { waiting: 0, hashing: 0, known: 0, sending: 0, stored: 0.8, ready: 0.9 };
let drawing = false;

/** Once for each frame, however many files have news. */
function total() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => { drawing = false; drawTotal(); });
}

function drawTotal() {
  const over = files.filter((item) => OVER.has(item.state));
  const bad = files.filter((item) => item.state === "failed" || item.state === "rejected").length;
  const known = files.filter((item) => item.state === "duplicate").length;
  const line = over.length === files.length ? said("allDone") : said("total");
  const more = [[known, "duplicates"], [bad, "problems"]].filter(([n]) => n).map(([n, name]) => said(name).replace("#n", n));
  const told = [line.replace("#done", over.length).replace("#all", files.length), ...more].join(" · ");
  if ($("#total-line").textContent !== told) $("#total-line").textContent = told; // a live region: said only when it is news
  const share = files.reduce((sum, item) => sum + (OVER.has(item.state) ? 1 : SHARE[item.state] + (item.state === "sending" ? 0.75 * (item.sent ?? 0) : 0)), 0);
  $("#total-bar").value = share / files.length;
  $("#retry").hidden = !files.some((item) => item.state === "failed");
  const link = $("#search-these");
  link.hidden = !files.some((item) => item.state === "searchable");
  link.href = `${root.dataset.home}?${new URLSearchParams({ collections: target.value, sort: "newest" })}`;
}

// ── Choosing ────────────────────────────────────────────────────────────────────────────────────────────────

function add(list) {
  let fresh = [...list].filter((file) => !file.name.startsWith("."));
  const room = Math.max(0, MOST_FILES - files.filter((item) => !OVER.has(item.state)).length);
  if (fresh.length > room) toast(said("tooMany").replace("#n", MOST_FILES), { bad: true });
  fresh = fresh.slice(0, room);
  if (!fresh.length) return;
  root.classList.add("has-files");
  $("#total").hidden = $("#list").hidden = false;
  for (const file of fresh) {
    const item = { file, state: "waiting", collection: target.value };
    files.push(item);
    addRow(item);
    if (file.size > Number(root.dataset.mostMb) * 1024 ** 2) set(item, "rejected", said("tooLarge"));
    else if (file.type && !file.type.startsWith("image/")) set(item, "rejected", said("notImage"));
    else set(item, "waiting");
  }
  work();
}

/** All files below dropped folders, in the order of the folders. */
async function below(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!batch.length) return found;
    for (const one of batch) found.push(...(await below(one)));
  }
}

if (root) {
  const zone = $("#dropzone");
  document.addEventListener("dragover", (event) => { event.preventDefault(); zone.classList.add("dropping"); });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) zone.classList.remove("dropping"); });
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    zone.classList.remove("dropping");
    const dropped = event.dataTransfer.files;
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    if (!entries.length) return add(dropped);
    for (const entry of entries) {
      try { add(await below(entry)); } catch { toast(said("unreadable").replace("#name", entry.name), { bad: true }); }
    }
  });
  document.addEventListener("paste", (event) => add(event.clipboardData.files));
  for (const button of $$("[data-choose]")) button.addEventListener("click", () => $(`#${button.dataset.choose}`).click());
  for (const field of [$("#files"), $("#folder")]) {
    field.addEventListener("change", () => { add(field.files); field.value = ""; });
  }
  $("#retry").addEventListener("click", () => retry(files.filter((item) => item.state === "failed")));
  addEventListener("beforeunload", (event) => {
    if (files.some((item) => LEAVING_LOSES.has(item.state))) event.preventDefault();
  });
  $("#forget").addEventListener("click", () => { server.forget(); $("#interrupted").hidden = true; });
  for (const wake of ["online", "focus"]) addEventListener(wake, () => watch());
  const names = server.interrupted();
  $("#interrupted").hidden = !names.length;
  $("#interrupted ul").append(...names.map((name) => Object.assign(document.createElement("li"), { textContent: name })));
}

function retry(items) {
  for (const item of items) set(item, "waiting");
  work();
}

// ── Hashing and asking ──────────────────────────────────────────────────────────────────────────────────────

let worker = null;
const answers = new Map();

function hash(item) {
  // Outside of https and localhost browsers offer no digest: then every file is sent, and the server compares.
  if (!crypto.subtle) return Promise.resolve(null);
  if (!worker) {
    worker = new Worker(new URL("./hash-worker.js", import.meta.url));
    worker.onmessage = ({ data }) => { answers.get(data.id)?.(data.hex ?? null); answers.delete(data.id); };
  }
  const id = files.indexOf(item);
  return new Promise((resolve) => { answers.set(id, resolve); worker.postMessage({ id, file: item.file }); });
}

async function known(collection, hashes) {
  if (!hashes.length) return {};
  try {
    const answer = await api(`${root.dataset.api}${collection}/images/check/`, { method: "POST", json: { sha256: hashes } });
    return Object.fromEntries(answer.known.map((one) => [one.sha256, one.id]));
  } catch {
    return {}; // only saves sending: the server recognises the bytes anyway
  }
}

let working = false;

/** Hash and ask ahead of the senders, a batch at a time. */
async function work() {
  if (working) return;
  working = true;
  try {
    for (;;) {
      const first = files.find((item) => item.state === "waiting");
      if (!first) break;
      const same = files.filter((item) => item.state === "waiting" && item.collection === first.collection);
      const batch = same.slice(0, HASHED_AHEAD);
      for (const item of batch) { set(item, "hashing"); item.hash ??= await hash(item); }
      const here = await known(first.collection, [...new Set(batch.map((item) => item.hash).filter(Boolean))]);
      for (const item of batch) {
        if (item.hash && item.hash in here) {
          item.uid = here[item.hash];
          set(item, "duplicate");
        } else set(item, "known");
      }
      keepSending();
    }
  } finally {
    working = false;
  }
}

// ── Sending ─────────────────────────────────────────────────────────────────────────────────────────────────

let senders = 0;

function keepSending() {
  while (senders < AT_ONCE && files.some((item) => item.state === "known")) {
    senders += 1;
    sendOn().finally(() => { senders -= 1; });
  }
}

async function sendOn() {
  for (let item; (item = files.find((one) => one.state === "known")); ) await sendOne(item);
}

async function sendOne(item) {
  set(item, "sending");
  const bar = $("progress", item.row);
  const on = {
    sent: (share) => { bar.value = item.sent = share; total(); },
    waiting: (now) => { $(".said", item.row).textContent = now ? said("again") : ""; },
  };
  try {
    const image = await server.send(item.file, { collection: item.collection, hash: item.hash, on });
    item.uid = image.id;
    if (image.duplicate) return set(item, "duplicate");
    set(item, image.state in SHARE ? image.state : "stored");
    watch(LOOK_FIRST);
  } catch (error) {
    set(item, error instanceof Refused ? "rejected" : "failed", error.message);
  }
}

// ── Watching ────────────────────────────────────────────────────────────────────────────────────────────────

let looking = null; // the timer of the next look
let pace = LOOK_EVERY;
let news = performance.now();

/** One request for all files that are under way, until none is left or nothing happens any more. */
function watch(soon = LOOK_EVERY) {
  news = performance.now();
  pace = LOOK_EVERY;
  looking ??= setTimeout(look, soon);
}

async function look() {
  const open = files.filter((item) => item.uid && (item.state === "stored" || item.state === "ready")).slice(0, MOST_ASKED);
  if (open.length) await compare(open);
  looking = null;
  if (!open.length || performance.now() - news > LOOK_UNTIL) return;
  looking = setTimeout(look, document.hidden ? LOOK_SELDOM : pace);
}

async function compare(open) {
  pace = Math.min(pace * 1.3, LOOK_SELDOM);
  try {
    const answer = await api(`${root.dataset.states}?${new URLSearchParams(open.map((item) => ["uid", item.uid]))}`);
    for (const item of open) {
      const now = answer.states[item.uid] ?? { state: "removed", reason: "" };
      if (now.state === item.state) continue;
      set(item, now.state, now.reason);
      news = performance.now();
      pace = LOOK_EVERY;
    }
  } catch {
    // The server is away for a moment: the next look comes later.
  }
}
