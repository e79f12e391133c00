// When the weight of a chip moves, what is on the page gets its new match at once. The candidates are frozen and the
// match is composed of known parts, so this is the server's own arithmetic; its answer follows and replaces it.
import { $, $$ } from "./kit.js";

/** Match 0–1, score and band of one tile under weights [p] of the positive and [q] of the negative chips. */
export function rescored(known, weights, away) {
  const whole = weights.reduce((sum, one) => sum + one, 0);
  let match = known.parts[0];
  if (known.parts.length > 1) {
    match = known.parts.reduce((product, one, place) => product * Math.max(one, 1e-9) ** (weights[place] / whole), 1);
  }
  known.negatives.forEach((one, place) => { match *= 1 - known.penalty * Math.min(1, away[place]) * one; });
  const limit = match >= known.strong ? 1 : known.ceiling;
  match = Math.max(match, Math.min(limit, 1 - (1 - match) * (1 - known.lift)));
  if (known.judged !== null) match = (match + known.judged) / 2;
  const band = match >= known.strong ? "strong" : match >= known.possible ? "possible" : "weak";
  return { match, score: match * known.boost, band };
}

const weightsOf = (chips) => chips.map((chip) => Number(chip.dataset.weight));

/** Gives every tile of the grid its new percentage, band and place; nothing where the chips are not those of the answer. */
export function rescore(form) {
  const grid = $("#results [data-grid][data-strong]");
  const chips = $$("[data-part]", form);
  const weights = weightsOf(chips.filter((chip) => !("negative" in chip.dataset)));
  const away = weightsOf(chips.filter((chip) => "negative" in chip.dataset));
  if (!grid || !weights.some((one) => one > 0)) return;
  const tiles = $$(".tile[data-rescore]", grid).map((tile) => ({ tile, known: JSON.parse(tile.dataset.rescore) }));
  if (!tiles.every(({ known }) => known?.parts.length === weights.length && known.negatives.length === away.length)) return;
  for (const one of tiles) show(one.tile, Object.assign(one, rescored(one.known, weights, away)), grid.dataset);
  if ("ordered" in grid.dataset) order(grid, tiles);
}

function show(tile, { match, band }, words) {
  const shown = $(".match", tile);
  tile.dataset.band = band;
  shown.className = `match ${band}`;
  shown.title = words[band];
  shown.firstChild.textContent = `${Math.round(match * 100)}\u00a0%`;
  $(".visually-hidden", shown).textContent = `, ${words[band]}`;
}

/** Weak ones last, each group by its score, equals by age (their ids rise with it). The line between moves along. */
function order(grid, tiles) {
  const weak = ({ band }) => Number(band === "weak");
  const worth = ({ score }) => Math.round(score * 1e6);
  const age = (a, b) => (a.tile.dataset.uid < b.tile.dataset.uid ? -1 : 1);
  const sorted = [...tiles].sort((a, b) => weak(a) - weak(b) || worth(b) - worth(a) || age(a, b));
  $(".divider", grid)?.remove();
  const rest = $(".more, .the-end", grid);
  for (const { tile } of sorted) grid.insertBefore(tile, rest);
  const first = sorted.findIndex((one) => one.band === "weak");
  if (first > 0) sorted[first].tile.before($("#divider").content.cloneNode(true));
}
