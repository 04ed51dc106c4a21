"use strict";
// Pieces of pages: elements, badges, references, tables. All text goes in as text, never as HTML.

function h(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

function s(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function link(kind, id, text) {
  return h("a", { href: hrefOf(kind, id) }, text || nameOf(kind, id));
}

function badge(confidence) {
  const [sign, meaning] = CONFIDENCE[confidence] || ["", ""];
  return h(`span.badge.${confidence}`, { title: meaning }, h("span", { "aria-hidden": "true" }, sign), ` ${confidence}`);
}

// The mark behind a value in a table; a sure value has none.
function mark(fact) {
  if (!fact || !shown(fact) || fact.confidence === "verified" || fact.confidence === "secondary") return "";
  const [sign, meaning] = CONFIDENCE[fact.confidence];
  return h(`sup.mark.${fact.confidence}`, { title: `${fact.confidence}: ${meaning}` }, sign);
}

function references(list) {
  return h("ul.refs", {}, (list || []).map((reference) => {
    const told = referenceOf(reference);
    const title = told.known ? h("a", { href: hrefOf("sources", told.id), title: told.title }, told.id) : told.id;
    return h("li", {},
      title, told.locator ? h("span.locator", {}, `, ${told.locator}`) : "",
      h("span.kind", {}, ` ${told.kind.replaceAll("-", " ")}`),
      told.url ? h("a.out", { href: told.url, rel: "noopener noreferrer", target: "_blank", "aria-label": `open ${told.title}` }, "\u2197") : "");
  }));
}

function unmapped(id) {
  return h("span.chip.unmapped", { title: "the acronym's meaning is not known; it is not guessed" }, id.slice(9), " ?");
}

function objectiveChip(use) {
  if (use.id.startsWith("unmapped:")) return unmapped(use.id);
  return h("a.chip", { href: hrefOf("objectives", use.id), title: nameOf("objectives", use.id) },
    use.id, use.variant ? ` (${use.variant})` : "");
}

// A number, text, list or mapping of a record's field, with links where it names records.
function value(field, held, kind) {
  if (held === null || held === undefined) return "";
  if (field === "objectives") return h("span.chips", {}, held.map(objectiveChip));
  const many = {
    paper: "papers", introduced_by: "papers", reported_by: "papers", model: "models", checkpoint: "checkpoints",
    dataset: "datasets", task: "tasks", metric: "metrics", primary_metric: "metrics", datasets: "datasets",
    secondary: "metrics", contains: "datasets", tasks: "tasks", abstract_objectives: "objectives",
  }[field];
  if (many && typeof held === "string") return byId[many].has(held) ? link(many, held) : held;
  if (many && Array.isArray(held) && held.every((item) => typeof item === "string")) {
    return h("span.chips", {}, held.map((id) => byId[many].has(id) ? h("a.chip", { href: hrefOf(many, id) }, nameOf(many, id)) : h("span.chip", {}, id)));
  }
  if (field === "pretrain_data") {
    return h("ul.plain", {}, held.map((use) => {
      const { dataset, ...rest } = use;
      const more = textOf(rest);
      return h("li", {}, byId.datasets.has(dataset) ? link("datasets", dataset) : dataset, more ? ` (${more})` : "");
    }));
  }
  if (field === "code" || field === "links") return h("ul.plain", {}, held.map(webLink));
  if (field === "arxiv") return outside(`https://arxiv.org/abs/${held}`, held);
  if (field === "doi") return outside(`https://doi.org/${held}`, held);
  if (field === "url") return safe(held) ? outside(held, held) : String(held);
  if (["formula", "latex", "impl", "oracle"].includes(field)) return h("code", {}, String(held));
  if (Array.isArray(held) && held.every((item) => typeof item === "string")) {
    if (held.some((item) => item.length > 40)) return h("ul.plain.long", {}, held.map((item) => h("li", {}, item)));
    return h("span.chips", {}, held.map((item) => h("span.chip", {}, item)));
  }
  if (typeof held === "object" && !Array.isArray(held)) {
    return h("dl.inner-list", {}, Object.entries(held).flatMap(([name, item]) => [h("dt", {}, name.replaceAll("_", " ")), h("dd", {}, textOf(item, name))]));
  }
  if (typeof held === "number" && QUANTITIES.has(field)) {
    return h("span", {}, quantity(held), Math.abs(held) >= 1000 ? h("span.exact", {}, ` ${held.toLocaleString("en")}`) : "");
  }
  if (typeof held === "number" && /year|month/.test(field)) return String(held);
  return textOf(held, kind === "results" ? "" : field);
}

function outside(url, text) {
  return h("a", { href: url, rel: "noopener noreferrer", target: "_blank" }, text);
}

function webLink(item) {
  const text = item.url.replace(/^https?:\/\//, "");
  const told = [item.official === true ? "official" : item.official === false ? "not official" : "", item.http ? `HTTP ${item.http}` : "", item.checked || ""];
  return h("li", {}, safe(item.url) ? outside(item.url, text) : text, h("span.kind", {}, ` ${told.filter(Boolean).join(", ")}`));
}

// A sortable table. columns: [{key, head, number?, cell(row), sort?(row)}]; rows keep their order without `sorted`.
function table({ columns, rows, sorted = "", onsort = null, caption = "", empty = "nothing fits" }) {
  const down = sorted.startsWith("-"), by = sorted.replace(/^-/, "");
  const heads = columns.map((column) => {
    const state = column.key === by ? (down ? "descending" : "ascending") : "none";
    const body = onsort && column.sort
      ? h("button", { type: "button", onclick: () => onsort(column.key === by && down === (column.number === true) ? (down ? column.key : `-${column.key}`) : (column.number ? `-${column.key}` : column.key)) },
        column.head, h("span.arrow", { "aria-hidden": "true" }, state === "none" ? "" : down ? " \u2193" : " \u2191"))
      : column.head;
    return h(column.number ? "th.number" : "th", { scope: "col", "aria-sort": onsort && column.sort ? state : null }, body);
  });
  const body = rows.length
    ? rows.map((row) => h("tr", {}, columns.map((column) => h(column.number ? "td.number" : column.flow ? "td.flow" : "td", {}, column.cell(row)))))
    : [h("tr", {}, h("td.empty", { colspan: columns.length }, empty))];
  return h("div.wide", { tabindex: "0", role: "region", "aria-label": caption || "table" },
    h("table.plain-cells", {}, caption ? h("caption.hidden", {}, caption) : "", h("thead", {}, h("tr", {}, heads)), h("tbody", {}, body)));
}

// Rows by a column, unknown last whichever way it goes.
function ordered(rows, columns, sorted) {
  const column = columns.find(({ key, sort }) => sort && key === sorted.replace(/^-/, ""));
  if (!column) return rows;
  const way = sorted.startsWith("-") ? -1 : 1;
  const known = rows.map((row) => [column.sort(row), row]);
  known.sort(([one], [other]) => {
    const lost = (value) => value === null || value === undefined || value === "";
    if (lost(one) || lost(other)) return lost(one) - lost(other);
    if (typeof one === "number" && typeof other === "number") return way * (one - other);
    return way * String(one).localeCompare(String(other), "en", { numeric: true, sensitivity: "base" });
  });
  return known.map(([, row]) => row);
}
