"use strict";
// The address decides what is shown; the keyboard works everywhere.

const view = document.getElementById("view");
const box = document.getElementById("q");
const NAV = ["models", "objectives", "datasets", "tasks", "metrics", "results", "papers", "sources"];

function read() {
  const [path, told = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [head = "", ...rest] = path.split("/");
  let id = rest.join("/");
  try { id = decodeURIComponent(id); } catch { /* as it stands */ }
  return { head, id, chosen: Object.fromEntries(new URLSearchParams(told)) };
}

function render() {
  const { head, id, chosen } = read();
  const focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.filter : null;
  let page;
  if (!head) page = homeView();
  else if (head === "search") page = searchView(chosen.q || "");
  else if (head === "compare") page = compareView(chosen);
  else if (LISTS[head] && !id) page = listView(head, chosen);
  else if (PLURAL[head]) page = recordView(PLURAL[head], id);
  else page = lostView(`This catalogue has no page \u201c${head}\u201d.`);
  view.replaceChildren(page);
  if (head !== "search") {
    document.getElementById("found").textContent = "";
    if (document.activeElement !== box) box.value = "";
  } else if (document.activeElement !== box) box.value = chosen.q || "";
  for (const anchor of document.querySelectorAll("#nav a")) {
    const here = anchor.dataset.kind === head || anchor.dataset.kind === PLURAL[head];
    if (here) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
  const title = view.querySelector("h1");
  document.title = head && title ? `${title.firstChild.textContent} \u2013 vlp-atlas` : "vlp-atlas";
  if (focused) refocus(focused);
}

// A filter that has just been used is drawn anew, and keeps the focus.
function refocus(name) {
  const field = view.querySelector(`[data-filter="${CSS.escape(name)}"]`);
  if (!field) return;
  field.focus();
  if (field.type === "search") field.setSelectionRange(field.value.length, field.value.length);
}

function find(query) {
  const address = `#/search?q=${encodeURIComponent(query)}`;
  if (read().head === "search") history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  render();
}

function keys(event) {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    box.focus();
    box.select();
  } else if (event.key === "Escape" && event.target === box) {
    box.value = "";
    if (read().head === "search") history.back();
    box.blur();
  } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && read().head === "search" && event.target.tagName !== "SELECT") {
    const finds = [...view.querySelectorAll(".find-list a")];
    const at = finds.indexOf(document.activeElement);
    const next = event.key === "ArrowDown" ? Math.min(at + 1, finds.length - 1) : at - 1;
    if (!finds.length) return;
    event.preventDefault();
    (next < 0 ? box : finds[next]).focus();
  }
}

const THEMES = [["", "\u25d0", "as the system"], ["light", "\u2600", "light"], ["dark", "\u263e", "dark"]];
function theme(step) {
  const root = document.documentElement;
  const now = THEMES.findIndex(([name]) => name === (root.dataset.theme || ""));
  const [name, sign, told] = THEMES[(now + step) % THEMES.length];
  if (name) root.dataset.theme = name;
  else delete root.dataset.theme;
  const button = document.getElementById("theme");
  button.textContent = sign;
  button.setAttribute("aria-label", `Colours: ${told}`);
  button.title = `colours: ${told}`;
}

document.getElementById("nav").append(
  ...NAV.map((kind) => h("a", { href: `#/${kind}`, "data-kind": kind }, CALLED[kind])),
  h("a", { href: "#/compare", "data-kind": "compare" }, "Compare"));
document.getElementById("foot").append(
  h("p", {}, `Catalogue ${DATA.meta.data_version}, as of ${DATA.meta.as_of}, schema ${DATA.meta.schema_version}, sha256 `, h("code", {}, DATA.meta.hash.slice(0, 16))),
  h("p", {}, "Keys: ", h("kbd", {}, "/"), " search, ", h("kbd", {}, "\u2193"), " ", h("kbd", {}, "\u2191"), " through the finds, ", h("kbd", {}, "Esc"), " back."));
const toggle = document.getElementById("unverified");
toggle.checked = state.unverified;
toggle.addEventListener("change", () => { state.unverified = toggle.checked; render(); });
document.getElementById("theme").addEventListener("click", () => theme(1));
document.getElementById("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const first = view.querySelector(".find-list a");
  if (first && read().head === "search") location.hash = first.getAttribute("href");
});
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); view.focus(); });
box.addEventListener("input", () => find(box.value));
document.addEventListener("keydown", keys);
let last = "";
window.addEventListener("hashchange", () => {
  render();
  const here = location.hash.split("?")[0];
  if (here !== last) window.scrollTo(0, 0);
  last = here;
  if (document.activeElement === document.body) view.focus({ preventScroll: true }); // reading aloud goes on there
});
theme(0);
render();
