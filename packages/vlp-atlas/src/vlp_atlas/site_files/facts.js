"use strict";
// The catalogue in memory: records by id, facts, references, and how values are written.

const DATA = JSON.parse(document.getElementById("data").textContent);
const KINDS = DATA.order;
const SINGULAR = {
  models: "model", checkpoints: "checkpoint", objectives: "objective", datasets: "dataset", tasks: "task",
  metrics: "metric", papers: "paper", results: "result", sources: "source",
};
const PLURAL = Object.fromEntries(Object.entries(SINGULAR).map(([many, one]) => [one, many]));
const CALLED = {
  models: "Models", checkpoints: "Checkpoints", objectives: "Objectives", datasets: "Data sets", tasks: "Tasks",
  metrics: "Metrics", papers: "Papers", results: "Results", sources: "Sources",
};
const CONFIDENCE = {
  verified: ["\u2713", "the primary source was read"],
  secondary: ["\u2261", "read in somebody else's text or table"],
  digitised: ["~", "read off a figure"],
  disputed: ["!", "sources disagree; all are shown"],
  unverified: ["?", "from memory, not checked"],
};
const QUANTITIES = new Set([
  "params", "pretrain_pairs", "pretrain_images", "n_images", "n_texts", "n_pairs", "n_clips", "images", "pairs",
]);

const state = { unverified: DATA.meta.unverified };
const byId = Object.fromEntries(
  KINDS.map((kind) => [kind, new Map(DATA.kinds[kind].map((record) => [record.id, record]))]),
);
const checkpointsOf = groupBy(DATA.kinds.checkpoints, (record) => record.model);
const resultsOf = groupBy(DATA.kinds.results, (record) => record.checkpoint);

const DOCUMENTS = KINDS.flatMap((kind) => DATA.kinds[kind].map((record) => {
  const title = titleOf(kind, record);
  const names = [record.id, title, ...(record.aliases || [])].filter(Boolean).map(Search.fold);
  return { kind, id: record.id, title, names, record };
}));
const INDEX = Search.open(DATA.index, DOCUMENTS);

function groupBy(records, key) {
  const groups = new Map();
  for (const record of records) {
    const name = key(record);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(record);
  }
  return groups;
}

function isFact(value) {
  return value !== null && typeof value === "object" && "confidence" in value && ("value" in value || "missing" in value);
}

function shown(fact) {
  return state.unverified || fact.confidence !== "unverified";
}

// The value of a field: of a fact that is missing or hidden, null.
function valueOf(record, field) {
  const found = record ? record[field] : undefined;
  if (isFact(found)) return shown(found) ? found.value ?? null : null;
  return found ?? null;
}

function titleOf(kind, record) {
  if (kind === "results") return `${record.checkpoint}: ${record.metric} on ${record.dataset} ${record.split}`;
  const value = record.name || record.title || record.id;
  return String(isFact(value) ? value.value : value);
}

function nameOf(kind, id) {
  const record = byId[kind] && byId[kind].get(id);
  return record ? titleOf(kind, record) : id;
}

function hrefOf(kind, id) {
  return `#/${SINGULAR[kind]}/${encodeURIComponent(id)}`;
}

function dayOf(record) {
  const paper = byId.papers.get(record.paper);
  const day = paper && (valueOf(paper, "first_public") || valueOf(paper, "year"));
  return day ? String(day) : null;
}

function dateOf(day) {
  const parts = day.split("-").map(Number);
  if (parts.length === 1) return parts[0] + 0.5;
  return parts[0] + (parts[1] - 1) / 12 + (parts.length > 2 ? (parts[2] - 1) / 365.25 : 1 / 24);
}

function quantity(number) {
  for (const [limit, suffix] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "K"]]) {
    if (Math.abs(number) >= 0.9995 * limit) return `${+(number / limit).toPrecision(3)}${suffix}`;
  }
  return String(number);
}

function textOf(value, field = "") {
  if (value === null || value === undefined) return "";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number") {
    if (QUANTITIES.has(field)) return quantity(value);
    return Number.isInteger(value) && Math.abs(value) >= 10000 ? value.toLocaleString("en") : String(value);
  }
  if (Array.isArray(value)) return value.map((item) => textOf(item, field)).join(", ");
  if (typeof value === "object") {
    const rest = { ...value };
    const key = ["id", "dataset", "name", "device", "url"].find((name) => name in rest);
    const head = key ? String(rest[key]) : "";
    delete rest[key];
    const more = Object.entries(rest).filter(([, item]) => item !== null)
      .map(([name, item]) => `${name.replaceAll("_", " ")} ${textOf(item, name)}`).join(", ");
    return head && more ? `${head} (${more})` : head || more;
  }
  return String(value);
}

function protocolOf(result) {
  return Object.entries(result.protocol || {})
    .filter(([, value]) => value !== null && value !== false)
    .map(([name, value]) => (value === true ? name.replaceAll("_", " ") : `${name.replaceAll("_", " ")} ${textOf(value)}`))
    .sort().join(", ");
}

// A reference to a source: its title, the place in it, its kind and its address, if that is one for a browser.
function referenceOf(reference) {
  const cut = reference.indexOf("#");
  const id = cut < 0 ? reference : reference.slice(0, cut);
  const source = byId.sources.get(id) || {};
  return {
    id, title: source.title || id, locator: cut < 0 ? "" : reference.slice(cut + 1), kind: source.kind || "unknown",
    retrieved: source.retrieved || "", url: safe(addressOf(source)), known: byId.sources.has(id),
  };
}

function addressOf(source) {
  if (source.url) return source.url;
  if (source.repo) {
    const at = source.commit ? `/${source.path ? "blob" : "tree"}/${source.commit}${source.path ? `/${source.path}` : ""}` : "";
    return `https://github.com/${source.repo}${at}`;
  }
  const paper = byId.papers.get(source.paper);
  if (!paper) return "";
  const arxiv = valueOf(paper, "arxiv"), doi = valueOf(paper, "doi");
  return arxiv ? `https://arxiv.org/abs/${arxiv}` : doi ? `https://doi.org/${doi}` : valueOf(paper, "url") || "";
}

function safe(url) {
  return /^https?:\/\//i.test(url || "") ? url : "";
}
