"use strict";
// Runs inside the page and leaves what it saw in an attribute of the root element.

const told = {};
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const text = () => document.getElementById("view").textContent;
async function go(hash) { location.hash = hash; await wait(30); }
function type(query) { box.focus(); box.value = query; box.dispatchEvent(new Event("input")); }
(async () => {
  const errors = [];
  window.addEventListener("error", (event) => errors.push(event.message));
  await wait(50);
  told.tiles = document.querySelectorAll(".tile").length;
  await go("#/model/two");
  told.model = [document.title, document.querySelectorAll("table.facts .badge").length, text().includes("from memory hidden")];
  const before = text();
  document.getElementById("unverified").click();
  told.more = text().length > before.length && !text().includes("from memory hidden");
  document.getElementById("unverified").click();
  told.back = text() === before;
  await go("#/models?objective=itc");
  told.filtered = [...document.querySelectorAll("tbody a.name")].map((a) => a.textContent);
  await go("#/models?sort=-params");
  told.sorted = [...document.querySelectorAll("tbody tr")].map((tr) => tr.cells[0].textContent);
  [...document.querySelectorAll("thead button")].find((b) => b.textContent.startsWith("params")).click();
  await wait(30);
  told.address = location.hash;
  told.aria = document.querySelector('th[aria-sort="ascending"]').textContent.trim().split(" ")[0];
  document.dispatchEvent(new KeyboardEvent("keydown", { key: "/", bubbles: true }));
  document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "/", bubbles: true }));
  told.focused = document.activeElement === box;
  type("infonce");
  told.finds = [location.hash, ...[...document.querySelectorAll(".find-list a")].map((a) => a.getAttribute("href"))];
  box.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown", bubbles: true }));
  told.arrow = document.activeElement.getAttribute("href");
  type("zzzz");
  told.none = text().includes("Nothing holds all of these words");
  await go("#/model/%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E");
  told.lost = [text().includes("<img src=x"), document.querySelectorAll("#view img").length];
  await go("#/compare?with=one,two");
  told.compare = [...document.querySelectorAll(".compare .best")].map((a) => a.textContent);
  const pages = ["#/", ...NAV.map((kind) => "#/" + kind), ...DOCUMENTS.map((one) => hrefOf(one.kind, one.id))];
  told.pages = pages.length;
  told.dead = [];
  for (const page of pages) {
    await go(page);
    if (text().includes("Not here") || !document.querySelector("#view h1")) errors.push(page);
    for (const anchor of document.querySelectorAll('#view a[href^="#/"]')) {
      const [head, id] = anchor.getAttribute("href").slice(2).split("?")[0].split("/");
      const known = byId[PLURAL[head]] || new Map();
      if (id && !known.has(decodeURIComponent(id))) told.dead.push(`${page}: ${head}/${id}`);
    }
  }
  told.loaded = performance.getEntriesByType("resource").map((entry) => entry.name).filter((name) => !name.startsWith("data:"));
  told.errors = errors;
  document.documentElement.dataset.told = JSON.stringify(told);
  document.getElementById("data").remove();
})();
