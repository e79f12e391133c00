// Helpers without side effects, shared by the page modules.

export const $ = (selector, root = document) => root.querySelector(selector);
export const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
export const word = (name) => $("#words")?.dataset[name] ?? "";

/** Say something to screen readers without moving the focus. */
export function announce(text) {
  const live = $("#live");
  if (live) live.textContent = text;
}

/** A short message at the bottom; `undo` adds a button that runs it. */
export function toast(text, { bad = false, undo = null, seconds = 6 } = {}) {
  const element = $("#toast-template").content.firstElementChild.cloneNode(true);
  $("span", element).textContent = text;
  element.classList.toggle("bad", bad);
  if (undo) {
    const button = $("[data-undo]", element);
    button.hidden = false;
    button.addEventListener("click", () => { element.remove(); undo(); });
  }
  $("#toasts").append(element);
  setTimeout(() => element.remove(), seconds * 1000);
}

/** A request to this server with the session and its CSRF token. Throws an Error with a message for people. */
export async function api(address, { method = "GET", json = null, body = null } = {}) {
  const headers = { Accept: "application/json", "X-CSRFToken": document.body.dataset.csrf };
  if (json !== null) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(address, { method, headers, body: json === null ? body : JSON.stringify(json) });
  } catch {
    throw new Error(word("offline"));
  }
  const type = response.headers.get("Content-Type") ?? "";
  const answer = type.includes("json") ? await response.json() : null;
  if (!response.ok) throw new Error(answer?.detail || word("failed"));
  return answer;
}

export const typing = (target) =>
  target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) &&
  !/^(checkbox|radio|range|button)$/.test(target.type ?? "");

export const store = {
  get(name) { try { return localStorage.getItem(name); } catch { return null; } },
  set(name, value) { try { localStorage.setItem(name, value); } catch { /* not kept */ } },
};

/** Whether one-letter shortcuts may act now. */
export const shortcuts = (event) =>
  store.get("shortcuts") !== "off" && !typing(event.target) && !event.ctrlKey && !event.metaKey && !event.altKey &&
  !$("dialog[open]");
