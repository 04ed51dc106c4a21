"""`make bench-vlp-atlas`: how fast the catalogue's page answers in a real browser, headless Chromium.

The page of the whole catalogue is opened from its file. Twelve queries are typed letter by letter, four
times: `search` is one search of the whole catalogue, `keystroke` all that a letter causes: the search, the
list on the page, and its layout. The page has no peer; the limits are those of people, 50 ms for a search and
16 ms (one picture of 60 a second) for a keystroke. Milliseconds by the browser's clock, which counts whole
tenths; they are wall time, so other work on the machine makes them longer. Source: ours.
"""

import html
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from benchmarks.harness import Row, save, table

from vlp_atlas import Atlas, site

QUERIES = (
    "image text contrast", "momentum", "uniter", "masked language", "vqa test-dev 72.7", "visual genome",
    "2021 video", "word region alignment", "salesforce", "cider", "clip zero-shot", "zzzz",
)  # fmt: skip
LIMITS = {"search": 50, "keystroke": 16}
"""milliseconds"""

TIMES = """
const times = { search: [], keystroke: [] };
for (let round = 0; round < ROUNDS; round += 1) {
  for (const query of QUERIES) {
    for (let end = 1; end <= query.length; end += 1) {
      let start = performance.now();
      Search.search(INDEX, query.slice(0, end), false);
      times.search.push(performance.now() - start);
      start = performance.now();
      find(query.slice(0, end));
      document.body.offsetHeight;
      times.keystroke.push(performance.now() - start);
    }
  }
}
document.documentElement.dataset.told = JSON.stringify({ documents: DOCUMENTS.length, ...times });
"""


def browser() -> str | None:
    """Chromium's command, if it is installed."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if (found := shutil.which(name))), None)


def in_browser(command: str, page: str, script: str) -> dict[str, list[float]]:
    """What a script, run inside the page, leaves in `data-told` of the root element."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        path.write_text(page.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
        done = subprocess.run(
            [command, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile",
             "--dump-dom", path.as_uri()],
            capture_output=True, text=True, timeout=120, check=True, env=os.environ | {"HOME": folder},
        )  # fmt: skip
    found = re.search(r'data-told="([^"]*)"', done.stdout)
    if found is None:
        raise RuntimeError(f"the page told nothing: {done.stderr[-500:]}")
    return json.loads(html.unescape(found[1]))  # type: ignore[no-any-return]


def main(tiny: bool = False) -> list[Row]:
    """A row for searches and one for keystrokes; kept in benchmarks/results unless they are tiny."""
    command = browser()
    if command is None:
        print("speed_page: skipped, there is no chromium here")
        return []
    page = site.page(Atlas.load())
    rounds = 1 if tiny else 4
    script = TIMES.replace("ROUNDS", str(rounds)).replace("QUERIES", json.dumps(QUERIES))
    told = in_browser(command, page, script)
    rows: list[Row] = []
    for name, limit in LIMITS.items():
        times = sorted(told[name])
        rows.append(
            {
                "name": name, "times": len(times), "median (ms)": round(times[len(times) // 2], 1),
                "95 % (ms)": round(times[int(0.95 * len(times))], 1), "worst (ms)": round(times[-1], 1),
                "limit (ms)": limit, "over the limit": sum(time > limit for time in times),
                "records": told["documents"], "page (MB)": round(len(page.encode()) / 1e6, 2),
            }
        )  # fmt: skip
    print(table(rows))
    if not tiny:
        save("vlp-atlas", rows, table="page", versions=())
    return rows


if __name__ == "__main__":
    main()
