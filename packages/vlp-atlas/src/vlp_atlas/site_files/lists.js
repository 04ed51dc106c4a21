"use strict";
// Lists of one kind: filters and order stand in the address, so that every view is a permalink.

function factCell(record, field, kind) {
  const held = valueOf(record, field);
  if (held === null) return "";
  const fact = isFact(record[field]) ? record[field] : null;
  return h("span", {}, typeof held === "number" && QUANTITIES.has(field) ? h("span", { title: held.toLocaleString("en") }, quantity(held)) : value(field, held, kind), mark(fact));
}

const plain = (field, kind) => ({ key: field, head: field.replaceAll("_", " "), cell: (row) => factCell(row, field, kind), sort: (row) => textOf(valueOf(row, field)) });
const number = (field, head) => ({ key: field, head: head || field.replaceAll("_", " "), number: true, cell: (row) => factCell(row, field), sort: (row) => valueOf(row, field) });
const words = (field, get = (row) => row) => ({ key: field, head: field, flow: true, cell: (row) => h("span", {}, textOf(valueOf(get(row), field)), mark(get(row)[field])), sort: (row) => textOf(valueOf(get(row), field)) });
const named = (kind) => ({ key: "name", head: "name", flow: true, cell: (row) => h("a.name", { href: hrefOf(kind, row.id) }, titleOf(kind, row)), sort: (row) => titleOf(kind, row) });

// One row for each checkpoint with sizes, or the model where none has, as `vlp-atlas models` does.
function modelRows() {
  return DATA.kinds.models.flatMap((model) => {
    const sized = (checkpointsOf.get(model.id) || []).filter((one) => ["params", "pretrain_pairs", "pretrain_images"].some((field) => valueOf(one, field) !== null));
    return (sized.length ? sized : [null]).map((checkpoint) => ({ model, checkpoint, own: checkpoint || model, day: dayOf(model) }));
  });
}

const year = (row) => (row.day ? Number(row.day.slice(0, 4)) : null);
const ofModel = (field) => ({ key: field, head: field.replaceAll("_", " ").replace(/ fe$/, ""), cell: (row) => factCell(row.model, field), sort: (row) => textOf(valueOf(row.model, field)) });
const ofCheckpoint = (field, head) => ({ key: field, head, number: true, cell: (row) => row.checkpoint ? factCell(row.checkpoint, field) : "", sort: (row) => valueOf(row.checkpoint, field) });

const LISTS = {
  models: {
    rows: modelRows, start: "year",
    about: "A checkpoint with sizes of its own has its own row. An empty cell is unknown, not zero.",
    columns: [
      { key: "name", head: "name", flow: true, cell: (row) => h("a.name", { href: hrefOf(row.checkpoint ? "checkpoints" : "models", row.own.id) }, row.own.name), sort: (row) => row.own.name },
      { key: "year", head: "first public", number: true, cell: (row) => h("span", { title: row.day || "" }, textOf(year(row) === null ? "" : String(year(row)))), sort: (row) => (row.day ? dateOf(row.day) : null) },
      words("modalities", (row) => row.model), ofModel("vision_fe"), { ...ofModel("fusion"), flow: true }, { ...ofModel("codec"), flow: true }, { ...ofModel("objectives"), flow: true },
      ofCheckpoint("params", "params"),
      { key: "convention", head: "counted", flow: true, cell: (row) => row.checkpoint && valueOf(row.checkpoint, "params") !== null ? row.checkpoint.params.convention || "" : "", sort: (row) => (row.checkpoint && row.checkpoint.params ? row.checkpoint.params.convention || "" : "") },
      ofCheckpoint("pretrain_pairs", "pairs"),
    ],
    filters: {
      objective: (row) => (valueOf(row.model, "objectives") || []).map((use) => use.id),
      year: (row) => [year(row)],
      modality: (row) => valueOf(row.model, "modalities") || [],
      vision: (row) => [valueOf(row.model, "vision_fe")],
      fusion: (row) => [valueOf(row.model, "fusion")],
      codec: (row) => [valueOf(row.model, "codec")],
      domain: (row) => [valueOf(row.model, "domain")],
      survey: (row) => row.model.in_survey || [],
    },
    text: (row) => `${row.own.name} ${row.model.name} ${row.own.id} ${(row.model.aliases || []).join(" ")}`,
  },
  objectives: {
    start: "group", columns: [named("objectives"), plain("id"), plain("group"), { ...plain("what"), sort: null, flow: true },
      { key: "used", head: "models", number: true, cell: (row) => textOf(usersOf(row.id).length), sort: (row) => usersOf(row.id).length }],
    filters: { group: (row) => [row.group] },
  },
  datasets: {
    start: "year", columns: [named("datasets"), number("year"), words("modalities"), number("n_images", "images"), number("n_texts", "texts"), number("n_pairs", "pairs"), number("n_clips", "clips"), plain("availability"), { ...plain("licence"), flow: true }],
    filters: { modality: (row) => valueOf(row, "modalities") || [], availability: (row) => [valueOf(row, "availability")], "used for": (row) => row.used_for || [], year: (row) => [valueOf(row, "year")] },
  },
  tasks: {
    start: "group", columns: [named("tasks"), plain("group"), { ...plain("datasets"), flow: true }, plain("primary_metric"),
      { key: "results", head: "results", number: true, cell: (row) => textOf(resultsFor("task", row.id).length), sort: (row) => resultsFor("task", row.id).length }],
    filters: { group: (row) => [row.group] },
  },
  metrics: {
    start: "name", columns: [named("metrics"), plain("id"), plain("unit"), plain("aggregation"),
      { key: "better", head: "better", cell: (row) => (row.higher_is_better ? "higher" : "lower"), sort: (row) => (row.higher_is_better ? "higher" : "lower") },
      { key: "formula", head: "formula", flow: true, cell: (row) => h("code", {}, textOf(valueOf(row, "formula"))) }],
    filters: { unit: (row) => [row.unit], aggregation: (row) => [row.aggregation] },
  },
  results: {
    rows: () => DATA.kinds.results.filter(shown), start: "-value",
    about: "Numbers compare only where data set, split, metric, setting and protocol are equal.",
    columns: [
      { key: "checkpoint", head: "checkpoint", cell: (row) => link("checkpoints", row.checkpoint), sort: (row) => nameOf("checkpoints", row.checkpoint) },
      { key: "value", head: "value", number: true, cell: (row) => h("span", {}, h("a", { href: hrefOf("results", row.id) }, String(row.value)), mark(row)), sort: (row) => row.value },
      ...["metric", "dataset", "split", "setting"].map((field) => plain(field, "results")),
      { key: "protocol", head: "protocol", flow: true, cell: protocolOf, sort: protocolOf },
      { key: "confidence", head: "confidence", cell: (row) => badge(row.confidence), sort: (row) => row.confidence },
      { key: "source", head: "source", flow: true, cell: (row) => references(row.source.slice(0, 1)), sort: (row) => row.source[0] || "" },
    ],
    filters: Object.fromEntries(["task", "dataset", "split", "metric", "setting", "confidence"].map((field) => [field, (row) => [row[field]]])),
    text: (row) => titleOf("results", row),
  },
  papers: {
    start: "year", columns: [
      { key: "name", head: "title", flow: true, cell: (row) => h("a.name", { href: hrefOf("papers", row.id) }, titleOf("papers", row)), sort: (row) => titleOf("papers", row) },
      number("year"), plain("venue"), { ...plain("venue_status"), head: "status" },
      { key: "arxiv", head: "arXiv", cell: (row) => factCell(row, "arxiv"), sort: (row) => valueOf(row, "arxiv") }],
    filters: { year: (row) => [valueOf(row, "year")], status: (row) => [valueOf(row, "venue_status")] },
  },
  sources: {
    start: "kind", columns: [
      { key: "name", head: "title", flow: true, cell: (row) => h("a.name", { href: hrefOf("sources", row.id) }, row.title), sort: (row) => row.title },
      plain("kind"), { ...plain("retrieved"), head: "read" },
      { key: "facts", head: "facts", number: true, cell: (row) => textOf(citations.count(row.id)), sort: (row) => citations.count(row.id) }],
    filters: { kind: (row) => [row.kind] },
  },
};

function usersOf(objective) {
  return DATA.kinds.models.filter((model) => (valueOf(model, "objectives") || []).some((use) => use.id === objective));
}

function resultsFor(field, id) {
  return DATA.kinds.results.filter((result) => result[field] === id && shown(result));
}

function addressOfList(kind, chosen) {
  const told = new URLSearchParams(Object.entries(chosen).filter(([, text]) => text)).toString();
  return `#/${kind}${told ? `?${told}` : ""}`;
}

function listView(kind, chosen) {
  const { columns, filters = {}, start = "name", about = "", ...rest } = LISTS[kind];
  const all = rest.rows ? rest.rows() : DATA.kinds[kind];
  const text = rest.text || ((row) => `${titleOf(kind, row)} ${row.id} ${(row.aliases || []).join(" ")}`);
  const go = (change) => { location.replace(addressOfList(kind, { ...chosen, ...change })); };
  const wanted = Search.fold(chosen.text || "").trim();
  const fits = (row, except) => Object.entries(filters).every(([name, get]) => name === except || !chosen[name] || get(row).some((item) => String(item) === chosen[name]))
    && (!chosen.after || (yearOf(kind, row) !== null && yearOf(kind, row) > Number(chosen.after)))
    && (!wanted || Search.fold(text(row)).includes(wanted));
  const rows = ordered(all.filter((row) => fits(row, null)), columns, chosen.sort || start);
  const by = (chosen.sort || start).replace(/^-/, "");
  const column = columns.find((one) => one.key === by && one.sort);
  const lost = column ? rows.filter((row) => { const held = column.sort(row); return held === null || held === ""; }).length : 0;
  const selects = Object.entries(filters).map(([name, get]) => {
    const counts = new Map();
    for (const row of all) if (fits(row, name)) for (const item of new Set(get(row))) if (item !== null) counts.set(item, (counts.get(item) || 0) + 1);
    if (chosen[name] && ![...counts.keys()].some((item) => String(item) === chosen[name])) counts.set(chosen[name], 0);
    const options = [...counts].sort(([one], [other]) => String(one).localeCompare(String(other), "en", { numeric: true }));
    return h("label.filter", {}, h("span", {}, name), h("select", { onchange: (event) => go({ [name]: event.target.value }), "data-filter": name },
      h("option", { value: "" }, "any"), options.map(([item, count]) => h("option", { value: item, selected: String(item) === chosen[name] }, `${item} (${count})`))));
  });
  const field = h("input", { type: "search", value: chosen.text || "", placeholder: "name", "data-filter": "text", oninput: (event) => go({ text: event.target.value }) });
  const dated = ["models", "datasets", "papers"].includes(kind);
  const after = dated ? h("label.filter", {}, h("span", {}, "after"), h("input", { type: "number", min: 1990, max: 2100, placeholder: "year", value: chosen.after || "", "data-filter": "after", onchange: (event) => go({ after: event.target.value }) })) : "";
  const active = Object.entries(chosen).some(([name, told]) => name !== "sort" && told);
  return h("section", {},
    h("h1", {}, CALLED[kind], h("span.count", {}, rows.length === all.length ? ` ${rows.length}` : ` ${rows.length} of ${all.length}`)),
    about ? h("p.about", {}, about) : "",
    h("form.filters", { onsubmit: (event) => event.preventDefault() }, h("label.filter", {}, h("span", {}, "text"), field), after, selects,
      active ? h("button.quiet", { type: "button", onclick: () => { location.hash = addressOfList(kind, { sort: chosen.sort }); } }, "clear") : ""),
    table({ columns, rows, sorted: chosen.sort || start, onsort: (sort) => go({ sort }), caption: CALLED[kind], empty: "nothing fits all filters" }),
    lost && rows.length ? h("p.about", {}, `${lost} without ${column.head}, last`) : "");
}

function yearOf(kind, row) {
  return kind === "models" ? year(row) : valueOf(row, "year");
}
