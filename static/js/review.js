// The review queue by keyboard: A approve, R reject, S skip, Z undo.
import { $, announce, shortcuts } from "./kit.js";

document.addEventListener("keydown", (event) => {
  if (!shortcuts(event)) return;
  const button = $(`#review [data-key="${CSS.escape(event.key.toLowerCase())}"]`);
  if (!button) return;
  event.preventDefault();
  button.click();
});

document.addEventListener("htmx:afterSwap", () => announce($("#review .results-line, #review h2")?.textContent ?? ""));
