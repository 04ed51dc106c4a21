"use strict";
// The start, the comparison, and the finds of a search.

function homeView() {
  const counts = ["models", "objectives", "datasets", "tasks", "metrics", "results", "papers", "sources"];
  const number = (kind) => (kind === "results" ? DATA.kinds.results.filter(shown).length : DATA.kinds[kind].length);
  return h("section.home", {},
    h("h1", {}, "Vision-language pre-training, fact by fact"),
    h("p.lead", {}, "Every number here has a split, a setting and a source, and says how sure it is. What is unknown stays empty; where sources disagree, all are shown."),
    h("div.tiles", {}, counts.map((kind) => h("a.tile", { href: `#/${kind}` }, h("strong", {}, String(number(kind))), h("span", {}, CALLED[kind].toLowerCase())))),
    h("div.charts", {}, scoreChart(), sizeChart()),
    h("h2", {}, "How sure a fact is"),
    h("table.legend", {}, h("tbody", {}, Object.entries(CONFIDENCE).map(([name, [, meaning]]) => h("tr", {}, h("td", {}, badge(name)), h("td", {}, meaning), h("td.number", {}, textOf(DATA.meta.confidences[name])))))),
    disputes());
}

function disputes() {
  const found = KINDS.flatMap((kind) => DATA.kinds[kind].flatMap((record) => kind === "results"
    ? (record.confidence === "disputed" ? [[kind, record, "value"]] : [])
    : Object.entries(record).filter(([, held]) => isFact(held) && held.confidence === "disputed").map(([field]) => [kind, record, field])));
  if (!found.length) return "";
  return h("section", {}, h("h2", {}, `Where sources disagree`, h("span.count", {}, ` ${found.length}`)),
    h("ul.columns", {}, found.map(([kind, record, field]) => h("li", {}, h("a", { href: hrefOf(kind, record.id) }, titleOf(kind, record)), kind === "results" ? "" : h("span.kind", {}, ` ${field.replaceAll("_", " ")}`)))));
}

// Scores of the split that most models report, by date of the paper.
function scoreChart() {
  const groups = groupBy(DATA.kinds.results.filter((one) => shown(one) && one.setting === "fine-tuned"), (one) => [one.dataset, one.metric, one.split, protocolOf(one)].join("|"));
  const best = [...groups].sort(([one, first], [other, second]) => second.length - first.length || (one < other ? -1 : 1))[0];
  if (!best || best[1].length < 3) return "";
  const points = best[1].flatMap((result) => {
    const checkpoint = byId.checkpoints.get(result.checkpoint);
    const day = checkpoint && dayOf(byId.models.get(checkpoint.model) || {});
    return day ? [{ x: dateOf(day), y: result.value, label: checkpoint.name, href: hrefOf("results", result.id), fact: result }] : [];
  });
  const [dataset, metric, split] = best[0].split("|");
  return chart({ title: `${nameOf("datasets", dataset)}, ${split}`, under: `${nameOf("metrics", metric)}, by first publication`, points, log: false });
}

function sizeChart() {
  const points = DATA.kinds.checkpoints.flatMap((one) => {
    const params = valueOf(one, "params"), day = dayOf(byId.models.get(one.model) || {});
    return params && day ? [{ x: dateOf(day), y: params, label: one.name, href: hrefOf("checkpoints", one.id), fact: one.params }] : [];
  });
  return points.length < 3 ? "" : chart({ title: "Parameters", under: "as their papers count them, by first publication", points, log: true });
}

function chart({ title, under, points, log }) {
  const W = 520, H = 300, left = 46, right = 14, top = 12, bottom = 28;
  const up = log ? Math.log10 : (value) => value;
  const xs = points.map(({ x }) => x), ys = points.map(({ y }) => up(y));
  const x0 = Math.floor(Math.min(...xs)), x1 = Math.ceil(Math.max(...xs) + 0.01);
  const margin = (Math.max(...ys) - Math.min(...ys)) * 0.07 || 1;
  const y0 = Math.min(...ys) - margin, y1 = Math.max(...ys) + margin;
  const X = (x) => left + ((x - x0) / (x1 - x0)) * (W - left - right);
  const Y = (y) => H - bottom - ((up(y) - y0) / (y1 - y0)) * (H - top - bottom);
  const svg = s("svg", { viewBox: `0 0 ${W} ${H}`, role: "group", "aria-label": `${title}, ${under}` });
  for (let x = x0; x <= x1; x += 1) {
    svg.append(s("line", { x1: X(x), x2: X(x), y1: top, y2: H - bottom, class: "grid" }));
    if (x < x1) svg.append(s("text", { x: X(x + 0.5), y: H - 9, "text-anchor": "middle", class: "axis" }, String(x)));
  }
  for (const tick of ticks(y0, y1, log)) {
    svg.append(s("line", { x1: left, x2: W - right, y1: Y(tick), y2: Y(tick), class: "grid" }));
    svg.append(s("text", { x: left - 7, y: Y(tick) + 3.5, "text-anchor": "end", class: "axis" }, quantity(tick)));
  }
  const placed = points.map((point) => [X(point.x) - 5, Y(point.y) - 5, X(point.x) + 5, Y(point.y) + 5]);
  for (const point of [...points].sort((one, other) => other.y - one.y || (one.label < other.label ? -1 : 1))) {
    const x = X(point.x), y = Y(point.y);
    const sure = point.fact.confidence === "verified" || point.fact.confidence === "secondary";
    const dot = s("a", { href: point.href, "aria-label": `${point.label}: ${textOf(point.y)}` }, s("circle", { cx: x, cy: y, r: 4.5, class: sure ? "dot" : "dot hollow" }), s("title", {}, `${point.label}: ${textOf(point.y)} (${point.fact.confidence})`));
    svg.append(dot);
    const wide = point.label.length * 5.3;
    for (const [dx, dy, anchor] of [[8, 3.5, "start"], [-8, 3.5, "end"], [0, -8, "middle"], [0, 15, "middle"]]) {
      const from = x + dx - { start: 0, end: wide, middle: wide / 2 }[anchor];
      const box = [from, y + dy - 9, from + wide, y + dy + 2];
      const free = box[0] > left && box[2] < W && placed.every((other) => box[0] > other[2] || other[0] > box[2] || box[1] > other[3] || other[1] > box[3]);
      if (!free) continue;
      placed.push(box);
      dot.append(s("text", { x: x + dx, y: y + dy, "text-anchor": anchor, class: "label" }, point.label));
      break;
    }
  }
  return h("figure.chart", {}, h("figcaption", {}, h("strong", {}, title), h("span", {}, under)), svg);
}

function ticks(low, high, log) {
  if (log) {
    const found = [];
    for (let power = Math.ceil(low); power <= high; power += 1) found.push(10 ** power);
    return found;
  }
  const step = [1, 2, 5, 10, 20, 50].find((one) => (high - low) / one <= 7) || 100;
  const found = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high; tick += step) found.push(tick);
  return found;
}

function compareView(chosen) {
  const picked = (chosen.with || "").split(",").filter((id) => byId.models.has(id) || byId.checkpoints.has(id));
  const go = (ids) => { location.hash = `#/compare${ids.length ? `?with=${ids.map(encodeURIComponent).join(",")}` : ""}`; };
  const columns = picked.flatMap((id) => {
    if (byId.checkpoints.has(id)) return [byId.checkpoints.get(id)];
    return (checkpointsOf.get(id) || []).filter((one) => (resultsOf.get(one.id) || []).some(shown));
  });
  const withResults = DATA.kinds.models.filter((model) => (checkpointsOf.get(model.id) || []).some((one) => (resultsOf.get(one.id) || []).some(shown)));
  const rows = new Map();
  for (const one of columns) {
    for (const result of (resultsOf.get(one.id) || []).filter(shown)) {
      const key = JSON.stringify([result.task, result.dataset, result.metric, result.split, result.setting, protocolOf(result)]);
      if (!rows.has(key)) rows.set(key, new Map());
      rows.get(key).set(one.id, result);
    }
  }
  const pick = h("select", { "aria-label": "add a model", onchange: (event) => event.target.value && go([...picked, event.target.value]) }, h("option", { value: "" }, "add a model \u2026"), withResults.filter((model) => !picked.includes(model.id)).map((model) => h("option", { value: model.id }, model.name)));
  const chips = picked.map((id) => h("button.chip", { type: "button", title: "take away", onclick: () => go(picked.filter((other) => other !== id)) }, byId.models.has(id) ? nameOf("models", id) : nameOf("checkpoints", id), " \u00d7"));
  const body = [...rows].sort(([one, first], [other, second]) => second.size - first.size || (one < other ? -1 : 1)).map(([key, cells]) => {
    const [, dataset, metric, split, setting, protocol] = JSON.parse(key);
    const lower = (byId.metrics.get(metric) || {}).higher_is_better === false;
    const held = [...cells.values()].map((result) => result.value);
    const best = cells.size > 1 ? (lower ? Math.min(...held) : Math.max(...held)) : null;
    const label = [split, setting === "fine-tuned" ? "" : setting, protocol].filter(Boolean).join(", ");
    return h("tr", {}, h("th", { scope: "row" }, nameOf("datasets", dataset), h("span.kind", {}, ` ${nameOf("metrics", metric)}`), h("br"), h("span.about", {}, label)),
      columns.map((one) => { const result = cells.get(one.id); return h("td.number", {}, result ? h(result.value === best ? "a.best" : "a", { href: hrefOf("results", result.id) }, String(result.value)) : "", result ? mark(result) : ""); }));
  });
  return h("section", {}, h("h1", {}, "Compare"),
    h("p.about", {}, "One row is one data set, split, metric, setting and protocol: only numbers of one row compare. The best of a row is bold."),
    h("form.filters", { onsubmit: (event) => event.preventDefault() }, chips, pick),
    columns.length ? h("div.wide", {}, h("table.compare", {}, h("thead", {}, h("tr", {}, h("th", {}, ""), columns.map((one) => h("th.number", { scope: "col" }, link("checkpoints", one.id))))), h("tbody", {}, body.length ? body : h("tr", {}, h("td.empty", {}, "no numbers"))))) : h("p.about", {}, picked.length ? "no numbers of these in the catalogue" : "Choose models above."));
}

const MOST = 30; // finds on a page

function searchView(query) {
  const found = Search.search(INDEX, query, state.unverified);
  const asked = Search.words(query);
  const groups = groupBy(found.slice(0, MOST).map((number) => DOCUMENTS[number]), (one) => one.kind);
  document.getElementById("found").textContent = query.trim() ? `${found.length} found` : "";
  return h("section.finds", {},
    h("h1", {}, query.trim() ? "Found" : "Search", h("span.count", {}, query.trim() ? ` ${found.length}` : "")),
    query.trim() ? "" : h("p.about", {}, "Every word must occur, each as part of any word of a record."),
    query.trim() && !found.length ? h("p", {}, "Nothing holds all of these words. ", state.unverified ? "" : "Facts from memory are not searched; the switch above shows them, too.") : "",
    [...groups].map(([kind, list]) => h("div", {}, h("h2", {}, CALLED[kind]), h("ul.find-list", {}, list.map((one) => h("li", {}, h("a", { href: hrefOf(one.kind, one.id) }, h("span.find-title", {}, marked(one.title, asked)), h("code", {}, one.kind === "results" ? textOf(one.record.value) : one.id))))))),
    found.length > MOST ? h("p.about", {}, `${found.length - MOST} more; add a word`) : "");
}

// A title with the query's words set apart, as far as folding keeps the letters in their places.
function marked(title, asked) {
  const folded = Search.fold(title);
  if (folded.length !== title.length) return title;
  const parts = [];
  let at = 0;
  while (at < title.length) {
    const next = asked.map((word) => [folded.indexOf(word, at), word]).filter(([place]) => place >= 0).sort((one, other) => one[0] - other[0] || other[1].length - one[1].length)[0];
    if (!next) break;
    parts.push(title.slice(at, next[0]), h("mark", {}, title.slice(next[0], next[0] + next[1].length)));
    at = next[0] + next[1].length;
  }
  return [...parts, title.slice(at)];
}
