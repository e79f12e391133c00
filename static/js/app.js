// On every page: theme, menus, dialogs, toasts, copying, keyboard, and htmx's manners.
import { $, $$, announce, shortcuts, store, toast, word } from "./kit.js";

const root = document.documentElement;
const isDark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

function showTheme() {
  for (const button of $$('[data-action="theme"]')) {
    const next = isDark() ? "light" : "dark";
    $("span", button).textContent = button.dataset[next];
    const use = $("use", button);
    use.setAttribute("href", use.getAttribute("href").replace(/#.*/, isDark() ? "#sun" : "#moon"));
  }
}

function showShortcuts() {
  const on = store.get("shortcuts") !== "off";
  for (const button of $$('[data-action="shortcuts"]')) {
    button.setAttribute("aria-pressed", on);
    const badge = $(".badge", button);
    badge.textContent = on ? badge.dataset.on : badge.dataset.off;
  }
}

const actions = {
  theme() {
    root.dataset.theme = isDark() ? "light" : "dark";
    store.set("theme", root.dataset.theme);
    showTheme();
  },
  shortcuts() {
    store.set("shortcuts", store.get("shortcuts") === "off" ? "on" : "off");
    showShortcuts();
  },
  help: () => $("#help").showModal(),
  dismiss: (button) => button.closest("[data-toast]").remove(),
  dialog: (button) => $(button.dataset.target).showModal(),
  async copy(button) {
    const source = button.dataset.text ?? $(button.dataset.target).textContent.trim();
    await navigator.clipboard.writeText(source);
    toast(word("copied"), { seconds: 2 });
    announce(word("copied"));
  },
};

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-action]");
  if (button) actions[button.dataset.action]?.(button);
  for (const menu of $$("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
  if (event.target.tagName === "DIALOG") event.target.close();
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    const open = $$("details.menu[open]").pop();
    if (open) {
      open.open = false;
      $("summary", open).focus();
      event.preventDefault();
      event.stopImmediatePropagation();
    }
    return;
  }
  if (!shortcuts(event)) return;
  if (event.key === "/") {
    const box = $('[data-focus-key="/"]');
    box?.focus();
    box?.select();
    if (box) event.preventDefault();
  }
  if (event.key === "?") $("#help").showModal();
});

// A form or button with data-confirm asks first, in our own dialog.
async function confirmed(text, danger) {
  const dialog = $("#confirm");
  $("#confirm-title").textContent = text;
  $('[value="yes"]', dialog).classList.toggle("danger", danger);
  dialog.returnValue = "no";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  return dialog.returnValue === "yes";
}

document.addEventListener("submit", async (event) => {
  const text = event.target.dataset.confirm;
  if (!text || event.target.dataset.sure) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  if (!(await confirmed(text, true))) return;
  event.target.dataset.sure = "yes";
  event.target.requestSubmit(event.submitter);
  delete event.target.dataset.sure;
}, true);

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
});

// A link with data-sheet opens as a dialog; without scripts it is a page of its own.
document.addEventListener("click", async (event) => {
  const link = event.target.closest("a[data-sheet]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  await htmx.ajax("GET", link.href, { target: "#sheet-body", swap: "innerHTML" });
  if ($("#sheet-title")) $("#sheet").showModal();
});

document.addEventListener("htmx:configRequest", (event) => {
  event.detail.headers["X-CSRFToken"] = document.body.dataset.csrf;
});
document.addEventListener("htmx:sendError", () => toast(word("offline"), { bad: true }));
document.addEventListener("htmx:responseError", (event) => {
  const status = event.detail.xhr.status;
  if (status === 422 || status === 400) return;
  toast(status === 403 ? word("forbidden") : word("failed"), { bad: true });
});
// Forms answer 422 with themselves and their errors: show those.
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.xhr.status === 422) {
    event.detail.shouldSwap = true;
    event.detail.isError = false;
  }
});
// A view may send HX-Trigger: {"toast": {"text": …, "undo": address}}.
document.addEventListener("toast", (event) => {
  const { text, undo = null } = event.detail;
  toast(text, { undo: undo && (() => htmx.ajax("POST", undo, { swap: "none" }).then(() => location.reload())) });
});
for (const message of $$("#toasts [data-toast]")) setTimeout(() => message.remove(), 8000);

// Narrow screens scroll the tabs: begin where the present one is seen.
for (const tab of $$(".tabs [aria-current]")) {
  const bar = tab.parentElement;
  bar.scrollLeft = tab.offsetLeft - (bar.clientWidth - tab.offsetWidth) / 2;
}

addEventListener("pageshow", () => { showTheme(); showShortcuts(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);
