// The search box: chips for every part, pictures by drop, paste or choice, results while typing.
// The server owns the question: it parses what is typed and sends chips back; here they are only moved and weighed.
import { $, $$, announce } from "./kit.js";
import { rescore } from "./rescore.js";

const PAUSE = 250;
const LONGEST_SIDE = 640;
const form = () => $("#search");
const input = () => $("#words-input");
const pictures = new Map(); // name of the form field → the picture to send with every question

// ── Asking ──────────────────────────────────────────────────────────────────────────────────────────────────

let timer = 0;
let live = false;

function ask(isLive = false) {
  clearTimeout(timer);
  live = isLive;
  htmx.trigger(form(), "search-soon");
}

document.addEventListener("input", (event) => {
  if (event.target.id !== "words-input") return;
  clearTimeout(timer);
  const typed = event.target.value.trim();
  if (typed.length === 1 || typed === "-" || typed.endsWith(":")) return;
  timer = setTimeout(ask, PAUSE, true);
});

document.addEventListener("change", (event) => {
  if (event.target.closest("#filters")) ask(true);
});

document.addEventListener("htmx:configRequest", (event) => {
  const { elt, formData, parameters, triggeringEvent } = event.detail;
  if (elt !== form() && !elt.closest("#results")) return;
  if (elt === form()) {
    if (triggeringEvent?.type === "submit") { clearTimeout(timer); live = false; }
    if (live) parameters.live = "1";
    $("#results").classList.add("loading");
  }
  const sent = $$('[data-kind="upload"]', form()).map((part) => part.dataset.value).filter((name) => pictures.has(name));
  if (elt !== form() || !sent.length) return;
  event.detail.verb = "post";
  event.detail.useUrlParams = false;
  for (const name of sent) formData.append(name, pictures.get(name), `${name}.jpg`);
});

document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.elt === form()) $("#results")?.classList.remove("loading");
});

document.addEventListener("htmx:afterSettle", (event) => {
  const results = event.detail.target.id === "results" ? $("#results") : null;
  if (results) {
    announce($("#results-line")?.innerText.replace(/\s+/g, " ") ?? $(".honest h2, .empty h2", results)?.textContent ?? "");
    document.title = document.title.replace(/^.*? · /, `${results.dataset.question || document.title.split(" · ")[0]} · `);
  }
  showPictures();
});

// The next page was added: remember how many are shown, so that a reload brings them all back.
document.addEventListener("htmx:beforeRequest", (event) => {
  const show = event.detail.elt.dataset.show;
  if (!show) return;
  const address = new URL(location);
  address.searchParams.set("show", show);
  history.replaceState(history.state, "", address);
});

// ── Chips ───────────────────────────────────────────────────────────────────────────────────────────────────

const quoted = (text) => `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;

function typedForm(part) {
  const { kind, value, weight } = part.dataset;
  const core = kind === "text" ? quoted(value) : `${kind}:${value}`;
  return ("negative" in part.dataset ? "-" : "") + core + (Number(weight) === 1 ? "" : `:${Number(weight)}`);
}

function rewrite(part, isLive) {
  $('input[name="q"]', part).value = typedForm(part);
  ask(isLive);
}

document.addEventListener("input", (event) => {
  if (!event.target.matches("[data-weight-input]")) return;
  const part = event.target.closest("[data-part]");
  part.dataset.weight = event.target.value;
  const shown = $(".weight", part);
  shown.hidden = Number(event.target.value) === 1;
  shown.textContent = `×${event.target.value}`;
  $("output", part).textContent = event.target.value;
  $('input[name="q"]', part).value = typedForm(part);
  rescore(form());
  clearTimeout(timer);
  timer = setTimeout(ask, 120, true);
});

function remove(part) {
  pictures.delete(part.dataset.value);
  part.remove();
  if ($("[data-part]", form()) || input().value.trim()) ask();
  else location.assign(form().action + filtersOnly());
  input().focus();
}

function filtersOnly() {
  const kept = new URLSearchParams([...new FormData(form())].filter(([name, value]) => name !== "q" && value));
  return kept.size ? `?${kept}` : "";
}

document.addEventListener("click", (event) => {
  const part = event.target.closest("[data-part]");
  if (!part) return;
  if (event.target.closest("[data-remove]")) remove(part);
  else if (event.target.closest("[data-turn]")) {
    if ("negative" in part.dataset) delete part.dataset.negative;
    else part.dataset.negative = "";
    rewrite(part, false);
  } else if (event.target.closest("[data-edit]")) editWords(part);
});

function editWords(part) {
  input().value = part.dataset.value;
  part.remove();
  input().focus();
}

document.addEventListener("keydown", (event) => {
  if (event.target.id !== "words-input") return;
  if (event.key === "Backspace" && !input().value) {
    const last = $$("[data-part]", form()).pop();
    if (!last) return;
    event.preventDefault();
    if (last.dataset.kind === "text") editWords(last);
    else remove(last);
  } else if (event.key === "ArrowDown") {
    $("#results .tile-link")?.focus();
    event.preventDefault();
  } else if (event.key === "Escape") input().blur();
});

// ── Pictures ────────────────────────────────────────────────────────────────────────────────────────────────

/** A copy small enough to travel with every question; the original where the browser cannot read it. */
async function small(file) {
  try {
    const bitmap = await createImageBitmap(file);
    const scale = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
    const canvas = new OffscreenCanvas(Math.max(1, bitmap.width * scale), Math.max(1, bitmap.height * scale));
    const context = canvas.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    return await canvas.convertToBlob({ type: "image/jpeg", quality: 0.92 });
  } catch {
    return file;
  }
}

const asText = (blob) => new Promise((resolve) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result);
  reader.readAsDataURL(blob);
});

async function addPicture(file) {
  const name = `picture-${Math.random().toString(36).slice(2, 8)}`;
  const blob = await small(file);
  pictures.set(name, blob);
  // The server keeps no copy: this tab remembers the picture, so that a reload can ask again.
  try { sessionStorage.setItem(name, await asText(blob)); } catch { /* too large to remember */ }
  const part = $("#upload-part").content.firstElementChild.cloneNode(true);
  part.dataset.value = name;
  $(".text", part).textContent = file.name || name;
  $('input[name="q"]', part).value = `upload:${name}`;
  input().before(part);
  showPictures();
  ask();
}

function showPictures() {
  for (const part of $$('[data-kind="upload"]', form())) {
    const blob = pictures.get(part.dataset.value);
    const image = $("[data-upload-preview]", part);
    if (blob && image && !image.src.startsWith("blob:")) image.src = URL.createObjectURL(blob);
  }
}

/** After a reload: bring back the pictures that this tab remembers, and ask with them. */
function recall() {
  let found = false;
  for (const part of $$('[data-kind="upload"]', form())) {
    let kept = null;
    try { kept = sessionStorage.getItem(part.dataset.value); } catch { /* switched off */ }
    if (!kept) continue;
    const [head, body] = kept.split(",");
    const bytes = Uint8Array.from(atob(body), (letter) => letter.charCodeAt(0));
    pictures.set(part.dataset.value, new Blob([bytes], { type: head.slice(5).split(";")[0] }));
    found = true;
  }
  showPictures();
  if (found) ask(true);
}

const images = (list) => [...(list ?? [])].filter((file) => file.type.startsWith("image/"));

document.addEventListener("change", (event) => {
  if (event.target.id !== "picture") return;
  images(event.target.files).forEach(addPicture);
  event.target.value = "";
});

document.addEventListener("paste", (event) => {
  const pasted = images(event.clipboardData?.files);
  if (pasted.length) {
    event.preventDefault();
    pasted.forEach(addPicture);
    return;
  }
  const uid = ownPicture(event.clipboardData?.getData("text/plain"));
  if (uid && event.target.id === "words-input") {
    event.preventDefault();
    addLike(uid);
  }
});

/** The id in an address of one of this server's pictures. */
function ownPicture(text) {
  const found = text?.trim().match(/^(https?:\/\/[^/]+)\/images\/([0-9a-f-]{36})\//);
  return found && found[1] === location.origin ? found[2] : null;
}

function addLike(uid) {
  input().value = `${input().value} like:${uid}`.trim();
  ask();
}

let depth = 0;
document.addEventListener("dragenter", (event) => {
  depth += 1;
  if (event.dataTransfer?.types.some((type) => type === "Files" || type === "text/uri-list")) form().classList.add("dropping");
});
document.addEventListener("dragleave", () => {
  depth = Math.max(0, depth - 1);
  if (!depth) form().classList.remove("dropping");
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  form().classList.remove("dropping");
  const uid = ownPicture(event.dataTransfer.getData("text/uri-list").replace(/(thumbnail|preview)\/$/, ""));
  if (uid) addLike(uid);
  else images(event.dataTransfer.files).forEach(addPicture);
});

/** Ready to type, where there are keys. Who comes back or reloads is left where they were: focus would scroll to the top. */
function begin() {
  const [arrival] = performance.getEntriesByType("navigation");
  if (arrival?.type === "navigate" && matchMedia("(hover: hover)").matches && document.activeElement === document.body) {
    input().focus({ preventScroll: true });
  }
}

document.addEventListener("DOMContentLoaded", recall);
document.addEventListener("DOMContentLoaded", begin);
