// The page of one picture: walk the results it came from, zoom, swipe.
import { $, shortcuts } from "./kit.js";

const viewer = $("[data-viewer]");
const stage = $("#stage");
const picture = $("#picture-large");

/** Inside the results that led here, previous and next follow their order instead of the collection's. */
function followResults() {
  let kept = null;
  try { kept = JSON.parse(sessionStorage.getItem("order")); } catch { /* none */ }
  const at = kept?.order.indexOf(viewer.dataset.uid) ?? -1;
  if (at < 0) return;
  for (const [link, uid] of [[$("[data-previous]"), kept.order[at - 1]], [$("[data-next]"), kept.order[at + 1]]]) {
    link.hidden = !uid;
    if (uid) link.href = location.pathname.replace(viewer.dataset.uid, uid);
  }
  $("[data-back]").href = kept.from;
}

function preload() {
  const next = $("[data-next]");
  if (next.hidden || navigator.connection?.saveData) return;
  const uid = next.pathname.split("/").at(-2);
  new Image().src = picture?.getAttribute("src").replace(viewer.dataset.uid, uid) ?? "";
}

const go = (selector) => { const link = $(selector); if (link && !link.hidden) location.replace(link.href); };

document.addEventListener("keydown", (event) => {
  if (!shortcuts(event)) return;
  if (event.target.closest?.(".strip")) return;
  if (event.key === "ArrowLeft") go("[data-previous]");
  else if (event.key === "ArrowRight") go("[data-next]");
  else if (event.key === "Escape") location.assign($("[data-back]").href);
  else if (event.key.toLowerCase() === "m") $(".side [data-like]")?.click();
  else if (event.key.toLowerCase() === "z") picture?.click();
  else return;
  event.preventDefault();
  event.stopImmediatePropagation();
}, true);

// Prev and next replace each other in the history, so that Back leads to the results.
for (const link of [$("[data-previous]"), $("[data-next]")]) {
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    location.replace(link.href);
  });
}

picture?.addEventListener("click", () => {
  stage.classList.toggle("zoomed");
  if (stage.classList.contains("zoomed")) stage.scrollTo(stage.scrollWidth / 4, stage.scrollHeight / 4);
});

let startX = null;
stage.addEventListener("touchstart", (event) => { startX = event.touches.length === 1 ? event.touches[0].clientX : null; }, { passive: true });
stage.addEventListener("touchend", (event) => {
  if (startX === null || stage.classList.contains("zoomed")) return;
  const moved = event.changedTouches[0].clientX - startX;
  if (Math.abs(moved) > 60) go(moved > 0 ? "[data-previous]" : "[data-next]");
}, { passive: true });

followResults();
addEventListener("load", preload);
