"use strict";
// Pages of single records: every fact with its confidence and sources, and what belongs to the record.

const QUIET = new Set(["id", "name", "title", "source", "confidence", "alternatives", "in_survey", "local", "error", "missing", "as_of"]);

// Fields in the order in which people ask for them.
function inOrder(record) {
  const place = (field) => (DATA.fields.includes(field) ? DATA.fields.indexOf(field) : DATA.fields.length);
  return Object.entries(record).sort(([one], [other]) => place(one) - place(other) || (one < other ? -1 : 1));
}

function factRow(field, fact, kind) {
  const confidence = isFact(fact) ? fact.confidence : null;
  const held = isFact(fact) ? fact.value ?? null : fact;
  const told = held === null ? h("span.missing", {}, (fact.missing || "unknown").replaceAll("-", " ")) : value(field, held, kind);
  const extra = isFact(fact) ? [fact.convention, fact.error ? `\u00b1 ${fact.error}` : "", fact.local ? "local" : ""].filter(Boolean) : [];
  const others = isFact(fact) ? (fact.alternatives || []).filter(shown) : [];
  return h("tr", {},
    h("th", { scope: "row" }, field.replaceAll("_", " ")),
    h("td", {}, told, extra.map((text) => h("span.extra", {}, text)), isFact(fact) && fact.note ? h("p.note", {}, fact.note) : "", others.map((other) => alternative(field, other, kind))),
    h("td", {}, confidence ? badge(confidence) : "", isFact(fact) ? references(fact.source) : ""));
}

function alternative(field, other, kind) {
  return h("div.alternative", {}, h("span.or", {}, "or "), value(field, other.value, kind), " ", badge(other.confidence), other.note ? h("span.note", {}, ` ${other.note}`) : "", references(other.source));
}

function factTable(kind, record) {
  const rows = [];
  let hidden = 0;
  for (const [field, held] of inOrder(record)) {
    const nothing = held === null || held === "" || (Array.isArray(held) && !held.length) || (typeof held === "object" && !Object.keys(held).length);
    if (QUIET.has(field) || nothing) continue;
    if (isFact(held) && !shown(held)) hidden += 1;
    else rows.push(factRow(field, held, kind));
  }
  return h("div", {},
    h("div.wide", {}, h("table.facts", {}, h("thead.hidden", {}, h("tr", {}, ["field", "value", "evidence"].map((head) => h("th", { scope: "col" }, head)))), h("tbody", {}, rows))),
    hidden ? h("p.about", {}, `${hidden} ${hidden === 1 ? "fact" : "facts"} from memory hidden; the switch above shows them.`) : "");
}

function resultTable(results, without = []) {
  const columns = LISTS.results.columns.filter(({ key }) => !without.includes(key));
  return table({ columns, rows: ordered(results, columns, "-value"), caption: "Results" });
}

function section(title, ...body) {
  return h("section.part", {}, h("h2", {}, title), body);
}

function recordView(kind, id) {
  const record = byId[kind].get(id);
  if (!record) return lostView(`No ${SINGULAR[kind]} has the id \u201c${id}\u201d.`);
  const parts = [h("p.crumbs", {}, h("a", { href: `#/${LISTS[kind] ? kind : "models"}` }, LISTS[kind] ? CALLED[kind] : "Models"), " / ", h("code", {}, record.id))];
  const title = kind === "results" ? `${nameOf("checkpoints", record.checkpoint)}: ${record.value}` : titleOf(kind, record);
  parts.push(h("h1", {}, title, h("span.kind-tag", {}, SINGULAR[kind] === "dataset" ? "data set" : SINGULAR[kind])));
  if ((record.aliases || []).length) parts.push(h("p.about", {}, `also: ${record.aliases.join(", ")}`));
  if ((record.in_survey || []).length) parts.push(h("p.about", {}, `listed by ${record.in_survey.map((one) => ({ W: "Wang et al. 2023", C: "Chen et al. 2023" })[one]).join(" and ")}`));
  const { aliases, ...rest } = record;
  parts.push(factTable(kind, rest));
  if (record.source) parts.push(h("div.record-source", {}, h("span", {}, "The record as a whole: "), badge(record.confidence), references(record.source)));
  parts.push(...(RELATED[kind] ? RELATED[kind](record) : []));
  return h("article", {}, parts);
}

const RELATED = {
  models: (model) => (checkpointsOf.get(model.id) || []).flatMap((one) => {
    const own = (resultsOf.get(one.id) || []).filter(shown);
    const { model: _, name, aliases, ...rest } = one;
    return [section(h("span", {}, "Checkpoint ", link("checkpoints", one.id)), factTable("checkpoints", rest)), own.length ? h("div", {}, h("h3", {}, `Results of ${name}`), resultTable(own, ["checkpoint"])) : ""];
  }).concat([compareLink(model.id)]),
  checkpoints: (one) => {
    const own = (resultsOf.get(one.id) || []).filter(shown);
    return [own.length ? section("Results", resultTable(own, ["checkpoint"])) : "", compareLink(one.model)];
  },
  objectives: (one) => {
    const users = usersOf(one.id);
    return [section(`Used by ${users.length} models`, h("span.chips", {}, users.map((model) => h("a.chip", { href: hrefOf("models", model.id) }, model.name)))),
      section("Compute it", h("pre", {}, `vlp-atlas objective ${one.id} --run`))];
  },
  datasets: (one) => {
    const used = DATA.kinds.checkpoints.filter((checkpoint) => (valueOf(checkpoint, "pretrain_data") || []).some((use) => use.dataset === one.id));
    const own = resultsFor("dataset", one.id);
    return [used.length ? section("Pre-trained on it", h("span.chips", {}, used.map((checkpoint) => h("a.chip", { href: hrefOf("checkpoints", checkpoint.id) }, checkpoint.name)))) : "",
      own.length ? section("Results", ...byMeasure(own)) : ""];
  },
  tasks: (one) => [section("Results", ...byMeasure(resultsFor("task", one.id)))],
  metrics: (one) => {
    const tasks = DATA.kinds.tasks.filter((task) => task.primary_metric === one.id || (task.secondary || []).includes(one.id));
    return [section("Tasks", h("span.chips", {}, tasks.map((task) => h("a.chip", { href: hrefOf("tasks", task.id) }, task.name)))),
      one.oracle ? section("Compute it", h("pre", {}, `vlp-atlas metric ${one.id} --run`)) : ""];
  },
  papers: (one) => {
    const models = DATA.kinds.models.filter((model) => model.paper === one.id);
    return [models.length ? section("Models", h("span.chips", {}, models.map((model) => h("a.chip", { href: hrefOf("models", model.id) }, model.name)))) : ""];
  },
  results: (one) => {
    const alike = DATA.kinds.results.filter((other) => shown(other) && ["dataset", "split", "metric", "setting"].every((field) => other[field] === one[field]) && protocolOf(other) === protocolOf(one));
    return [section("All that compare with it", resultTable(alike, ["metric", "dataset", "split", "setting", "protocol"])),
      (one.alternatives || []).length ? section("Other sources say", one.alternatives.filter(shown).map((other) => alternative("value", other, "results"))) : ""];
  },
  sources: (one) => [section(`${citations.count(one.id)} facts rest on it`, h("span.chips", {}, citations.records(one.id).slice(0, 200).map(([kind, id]) => h("a.chip", { href: hrefOf(kind, id) }, nameOf(kind, id)))))],
};

// Results in tables of what compares: one data set, split, metric, setting, protocol each; the largest first.
function byMeasure(results) {
  const groups = groupBy(results, (one) => [one.dataset, one.split, one.metric, one.setting === "fine-tuned" ? "" : one.setting, protocolOf(one)].filter(Boolean).join(" \u00b7 "));
  if (!groups.size) return [h("p.about", {}, "none in the catalogue")];
  return [...groups].sort(([, one], [, other]) => other.length - one.length).map(([name, rows]) => {
    const metric = byId.metrics.get(rows[0].metric);
    const columns = LISTS.results.columns.filter(({ key }) => ["checkpoint", "value", "confidence", "source"].includes(key));
    const sorted = metric && metric.higher_is_better === false ? "value" : "-value";
    return h("details.measure", { open: rows.length > 2 }, h("summary", {}, name, h("span.count", {}, ` ${rows.length}`)), table({ columns, rows: ordered(rows, columns, sorted), caption: name }));
  });
}

// Which records cite a source.
const citations = {
  found: null,
  all() {
    if (this.found) return this.found;
    this.found = new Map();
    const add = (reference, kind, id) => {
      const source = reference.split("#")[0];
      if (!this.found.has(source)) this.found.set(source, { count: 0, records: new Map() });
      const entry = this.found.get(source);
      entry.count += 1;
      entry.records.set(`${kind} ${id}`, [kind, id]);
    };
    for (const kind of KINDS) {
      for (const record of DATA.kinds[kind]) {
        if (kind === "results") record.source.forEach((reference) => add(reference, kind, record.id));
        for (const held of Object.values(record)) if (isFact(held)) (held.source || []).forEach((reference) => add(reference, kind, record.id));
      }
    }
    return this.found;
  },
  count(id) { return (this.all().get(id) || { count: 0 }).count; },
  records(id) { return [...(this.all().get(id) || { records: new Map() }).records.values()]; },
};

function lostView(text) {
  return h("section", {}, h("h1", {}, "Not here"), h("p", {}, text, " ", h("a", { href: "#/" }, "To the start")));
}

function compareLink(model) {
  return h("p", {}, h("a.button", { href: `#/compare?with=${encodeURIComponent(model)}` }, "Compare with another model"));
}
