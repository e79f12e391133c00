// Every grid of pictures: arrow keys, selection with its bar, "why this?", and the order that the picture page walks.
import { $, $$, announce, api, shortcuts, toast, typing } from "./kit.js";

const tiles = () => $$("[data-grid] .tile");
const box = (tile) => $(".tile-select input", tile);
const chosen = () => tiles().filter((tile) => box(tile).checked);
let anchor = null;

// ── Walking ─────────────────────────────────────────────────────────────────────────────────────────────────

function neighbour(tile, key) {
  const all = tiles();
  const at = all.indexOf(tile);
  if (key === "ArrowRight") return all[at + 1];
  if (key === "ArrowLeft") return all[at - 1];
  const here = tile.getBoundingClientRect();
  const down = key === "ArrowDown";
  const rows = all.filter((one) => (down ? one.getBoundingClientRect().top >= here.bottom - 4 : one.getBoundingClientRect().bottom <= here.top + 4));
  if (!rows.length) return null;
  const edge = down ? Math.min(...rows.map((one) => one.getBoundingClientRect().top)) : Math.max(...rows.map((one) => one.getBoundingClientRect().top));
  return rows.filter((one) => Math.abs(one.getBoundingClientRect().top - edge) < 8)
    .sort((a, b) => Math.abs(a.getBoundingClientRect().left - here.left) - Math.abs(b.getBoundingClientRect().left - here.left))[0];
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && chosen().length && !$("dialog[open]")) return clear();
  if (!shortcuts(event)) return;
  const tile = event.target.closest?.(".tile");
  if (event.key.startsWith("Arrow")) {
    const next = tile ? neighbour(tile, event.key) : event.target === document.body ? tiles()[0] : null;
    if (!next) return;
    event.preventDefault();
    $(".tile-link", next).focus();
    next.scrollIntoView({ block: "nearest" });
  } else if (tile && event.key === " " && event.target.matches(".tile-link")) {
    event.preventDefault();
    if (event.shiftKey && anchor) range(tile);
    else toggle(tile);
  } else if (tile && event.key.toLowerCase() === "m") $("[data-like]", tile)?.click();
  else if (tile && event.key.toLowerCase() === "w") why(tile);
});

// ── Selecting ───────────────────────────────────────────────────────────────────────────────────────────────

function toggle(tile, on = !box(tile).checked) {
  box(tile).checked = on;
  anchor = tile;
  show();
}

function range(tile) {
  const all = tiles();
  const [from, to] = [all.indexOf(anchor), all.indexOf(tile)].sort((a, b) => a - b);
  for (const one of all.slice(Math.max(0, from), to + 1)) box(one).checked = true;
  show();
}

function clear() {
  for (const tile of chosen()) box(tile).checked = false;
  show();
}

function show() {
  const bar = $("#bulkbar");
  if (!bar) return;
  const count = chosen().length;
  bar.hidden = !count;
  $("[data-grid]")?.classList.toggle("selecting", count > 0);
  $(".n", bar).textContent = count === 1 ? bar.dataset.one : bar.dataset.many.replace("#", count);
}

document.addEventListener("click", (event) => {
  const tile = event.target.closest(".tile");
  if (event.target.matches?.(".tile-select input")) {
    if (event.shiftKey && anchor && anchor !== tile) range(tile);
    anchor = tile;
    show();
  } else if (event.target.closest("[data-why]")) why(tile);
  else if (event.target.closest(".tile-link") && tile) rememberOrder();
});

function rememberOrder() {
  const order = tiles().map((tile) => tile.dataset.uid);
  try { sessionStorage.setItem("order", JSON.stringify({ from: location.href, order })); } catch { /* none */ }
}

function why(tile) {
  const told = $("[data-explain]", tile);
  if (!told) return;
  $("[data-why-body]").replaceChildren(told.content.cloneNode(true));
  $("#why").showModal();
}

// ── Changing many ───────────────────────────────────────────────────────────────────────────────────────────

const AT_ONCE = 200;

/** Asks the server in portions; `null` where it could not be asked at all. */
async function change(what, uids, more = {}) {
  const whole = { done: [], refused: 0, from: {} };
  for (let start = 0; start < uids.length; start += AT_ONCE) {
    const body = new FormData();
    for (const [name, value] of Object.entries({ do: what, uid: uids.slice(start, start + AT_ONCE).join(","), ...more })) body.set(name, value);
    try {
      const answer = await api($("#bulk").action, { method: "POST", body });
      whole.done.push(...answer.done);
      whole.refused += answer.refused;
      Object.assign(whole.from, answer.from);
    } catch (error) {
      toast(error.message, { bad: true });
      if (!start) return null;
      break;
    }
  }
  return whole;
}

async function trash() {
  const selected = chosen();
  const answer = await change("trash", selected.map((tile) => tile.dataset.uid));
  if (!answer) return;
  const places = selected.filter((tile) => answer.done.includes(tile.dataset.uid)).map((tile) => {
    const mark = document.createComment("");
    tile.before(mark);
    tile.remove();
    return [mark, tile];
  });
  clear();
  told($("#bulk").dataset.trashed, answer, async () => {
    const back = await change("restore", answer.done);
    for (const [mark, tile] of places) if (back?.done.includes(tile.dataset.uid)) { box(tile).checked = false; mark.replaceWith(tile); }
  });
}

/** The browser saves the answer of a form as it streams in; a script would have to hold all of it. */
function download() {
  if (chosen().length > AT_ONCE) return toast($("#bulk").dataset.tooMany.replace("#", AT_ONCE), { bad: true });
  const form = document.createElement("form");
  form.method = "post";
  form.action = $("#bulk").dataset.download;
  const fields = [["csrfmiddlewaretoken", document.body.dataset.csrf], ["uid", chosen().map((tile) => tile.dataset.uid).join(",")]];
  for (const [name, value] of fields) form.append(Object.assign(document.createElement("input"), { type: "hidden", name, value }));
  document.body.append(form);
  form.submit();
  form.remove();
  toast($("#bulk").dataset.packing.replace("#", chosen().length));
  clear();
}

async function move(collection) {
  const answer = await change("move", chosen().map((tile) => tile.dataset.uid), { collection });
  $("#sheet").close();
  if (!answer) return;
  const left = location.pathname.includes("/collections/") && !location.pathname.includes(collection);
  if (left) for (const tile of chosen()) if (answer.done.includes(tile.dataset.uid)) tile.remove();
  clear();
  told($("#bulk").dataset.moved, answer, () => moveBack(answer.from));
}

async function moveBack(from) {
  for (const source of new Set(Object.values(from))) {
    await change("move", Object.keys(from).filter((uid) => from[uid] === source), { collection: source });
  }
  location.reload();
}

function told(text, answer, undo = null) {
  const { refused } = $("#bulk").dataset;
  const said = text.replace("#", answer.done.length) + (answer.refused ? ` ${refused.replace("#", answer.refused)}` : "");
  announce(said);
  toast(said, { seconds: 10, undo: answer.done.length ? undo : null });
}

const bulk = {
  clear,
  trash,
  download,
  tag: () => $("#tag-dialog").showModal(),
  async move() {
    await htmx.ajax("GET", $("#bulk").dataset.move, { target: "#sheet-body", swap: "innerHTML" });
    if ($("#move-target, #sheet-title")) $("#sheet").showModal();
  },
  like: () => location.assign(`/?${new URLSearchParams({ q: chosen().slice(0, 8).map((tile) => `like:${tile.dataset.uid}`).join(" ") })}`),
};

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-bulk]");
  if (button) bulk[button.dataset.bulk]();
});

document.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-move-form]")) return;
  event.preventDefault();
  move(event.target.elements.collection.value);
});

document.addEventListener("submit", async (event) => {
  if (!event.target.matches("[data-tag-form]")) return;
  event.preventDefault();
  const answer = await change("tag", chosen().map((tile) => tile.dataset.uid), { tags: event.target.elements.tags.value });
  $("#tag-dialog").close();
  if (!answer) return;
  told($("#bulk").dataset.tagged, answer);
  event.target.reset();
  clear();
});

addEventListener("pageshow", () => { if (!typing(document.activeElement)) show(); });
