// Uploading: hash in a worker, ask which files are known, send the others three at a time, watch until searchable.
import { $, $$, api, toast, word } from "./kit.js";

const AT_ONCE = 3;
const ASK_EVERY = 1500;
const MOST_CHECKED = 100;
const root = $("#uploader");
const said = (name) => $("#states").dataset[name];
const target = $("#target");
const files = []; // every file that was ever chosen, in order

const TONES = { searchable: "ok", duplicate: "info", ready: "info", review: "warn", rejected: "bad", failed: "bad" };
const OVER = new Set(["searchable", "review", "duplicate", "rejected", "failed"]);

// ── Rows ────────────────────────────────────────────────────────────────────────────────────────────────────

function addRow(item) {
  const row = $("#row-template").content.firstElementChild.cloneNode(true);
  $(".name", row).textContent = item.file.webkitRelativePath || item.file.name;
  $(".size", row).textContent = size(item.file.size);
  const thumb = $(".thumb", row);
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

const SHARE = { waiting: 0, hashing: 0, sending: 0, stored: 0.8, ready: 0.9 };

function total() {
  const over = files.filter((item) => OVER.has(item.state));
  const bad = files.filter((item) => item.state === "failed" || item.state === "rejected").length;
  const known = files.filter((item) => item.state === "duplicate").length;
  const line = over.length === files.length ? said("allDone") : said("total");
  const more = [[known, "duplicates"], [bad, "problems"]].filter(([n]) => n).map(([n, name]) => said(name).replace("#n", n));
  $("#total-line").textContent = [line.replace("#done", over.length).replace("#all", files.length), ...more].join(" · ");
  const share = files.reduce((sum, item) => sum + (OVER.has(item.state) ? 1 : SHARE[item.state] + (item.state === "sending" ? 0.75 * (item.sent ?? 0) : 0)), 0);
  $("#total-bar").value = share / files.length;
  $("#retry").hidden = !files.some((item) => item.state === "failed");
  const link = $("#search-these");
  link.hidden = !files.some((item) => item.state === "searchable");
  link.href = `${root.dataset.home}?${new URLSearchParams({ collections: target.value, sort: "newest" })}`;
}

// ── Choosing ────────────────────────────────────────────────────────────────────────────────────────────────

function add(list) {
  const fresh = [...list].filter((file) => !file.name.startsWith("."));
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
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    if (!entries.length) return add(event.dataTransfer.files);
    for (const entry of entries) add(await below(entry));
  });
  document.addEventListener("paste", (event) => add(event.clipboardData.files));
  for (const button of $$("[data-choose]")) button.addEventListener("click", () => $(`#${button.dataset.choose}`).click());
  for (const field of [$("#files"), $("#folder")]) {
    field.addEventListener("change", () => { add(field.files); field.value = ""; });
  }
  $("#retry").addEventListener("click", () => retry(files.filter((item) => item.state === "failed")));
  addEventListener("beforeunload", (event) => {
    if (files.some((item) => ["waiting", "hashing", "sending"].includes(item.state))) event.preventDefault();
  });
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

async function work() {
  if (working) return;
  working = true;
  try {
    for (;;) {
      const batch = files.filter((item) => item.state === "waiting").slice(0, 20);
      if (!batch.length) break;
      for (const item of batch) { set(item, "hashing"); item.hash = await hash(item); }
      const sums = [...new Set(batch.map((item) => item.hash).filter(Boolean))];
      const here = await known(batch[0].collection, sums);
      const send = [];
      for (const item of batch) {
        if (item.hash in here && item.collection === batch[0].collection) {
          item.uid = here[item.hash];
          set(item, "duplicate");
        } else send.push(item);
      }
      await Promise.all(Array.from({ length: AT_ONCE }, async () => { for (let item; (item = send.shift()); ) await sendOne(item); }));
    }
  } finally {
    working = false;
  }
}

// ── Sending ─────────────────────────────────────────────────────────────────────────────────────────────────

function sendOne(item) {
  set(item, "sending");
  const body = new FormData();
  body.set("file", item.file, item.file.name);
  if (item.hash) body.set("sha256", item.hash);
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.open("POST", `${root.dataset.api}${item.collection}/images/`);
    request.setRequestHeader("X-CSRFToken", document.body.dataset.csrf);
    request.setRequestHeader("Accept", "application/json");
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => {
      item.sent = event.loaded / (event.total || 1);
      $("progress", item.row).value = item.sent;
      total();
    });
    request.addEventListener("loadend", () => { answered(item, request); resolve(); });
    request.send(body);
  });
}

function answered(item, request) {
  const answer = request.response;
  if (request.status === 200 || request.status === 201 || request.status === 202) {
    item.uid = answer.id;
    if (answer.duplicate) return set(item, "duplicate");
    set(item, answer.state in SHARE ? answer.state : "stored");
    return watch();
  }
  const lasting = [400, 403, 404, 413, 415, 422].includes(request.status);
  set(item, lasting ? "rejected" : "failed", answer?.detail || (request.status ? word("failed") : word("offline")));
}

// ── Watching ────────────────────────────────────────────────────────────────────────────────────────────────

let watching = 0;

function watch() {
  if (!watching) watching = setTimeout(look, ASK_EVERY / 3);
}

async function look() {
  watching = 0;
  const open = files.filter((item) => item.uid && (item.state === "stored" || item.state === "ready"));
  if (!open.length) return;
  const asked = open.slice(0, MOST_CHECKED);
  try {
    const parameters = new URLSearchParams(asked.map((item) => ["uid", item.uid]));
    const answer = await api(`${root.dataset.states}?${parameters}`);
    for (const item of asked) {
      const now = answer.states[item.uid];
      if (now && now.state !== item.state) set(item, now.state, now.reason);
    }
  } catch (error) {
    if (error.message === word("offline")) toast(error.message, { bad: true });
  }
  watching = setTimeout(look, ASK_EVERY);
}
