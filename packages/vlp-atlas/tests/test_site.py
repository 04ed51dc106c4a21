"""The page: what is in the file, and (slow) how it behaves in a browser."""

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from vlp_atlas import Atlas, site

CHECKS = Path(__file__).parent / "page_checks.js"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
browser = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")


def test_the_page_is_one_file_that_may_load_nothing(small_atlas):
    text = site.page(small_atlas)
    assert "default-src 'none'" in text
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=[\"'](?!data:)", text)
    assert "@import" not in text
    assert "fetch(" not in text
    assert "XMLHttpRequest" not in text
    assert "innerHTML" not in text
    assert not re.search(r"<!--(STYLE|SCRIPT|DATA)-->", text)


def test_two_builds_are_the_same_bytes(small_atlas, small):
    assert site.page(small_atlas) == site.page(Atlas(small))


def test_all_records_are_inside_with_their_sources(small_atlas):
    text = site.page(small_atlas)
    told = json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1]
    )
    for kind in told["order"]:
        assert told["kinds"][kind] == small_atlas.all(kind)


@pytest.mark.parametrize("text", ["</script><script>alert(1)</script>", "<!-- <script", "a\u2028b", '"\\'])
def test_no_text_of_the_catalogue_can_end_the_script(small, text):
    small["models"][0]["name"] = text
    page = site.page(Atlas(small))
    data = page.split('id="data">')[1].split("</script>")[0]
    assert "<" not in data
    assert json.loads(data)["kinds"]["models"][0]["name"] == text


def test_build_site_does_not_write_over_a_page_unless_forced(vlp, tmp_path):
    assert vlp("build-site out")[0] == 0
    code, _, err = vlp("build-site out")
    assert code == 2
    assert "--force" in err
    assert vlp("build-site out --force")[0] == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["index.html"]


# ---- in a browser ----


def in_browser(page, checks, tmp_path):
    """What some checks, run inside the page, have told."""
    path = tmp_path / "page.html"
    path.write_text(page.replace("</body>", f"<script>{checks}</script></body>"), encoding="utf-8")
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         "--virtual-time-budget=60000", "--dump-dom", path.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
        env=os.environ | {"HOME": str(tmp_path)},
    )  # fmt: skip
    found = re.search(r'data-told="([^"]*)"', done.stdout)
    assert found, done.stderr[-2000:]
    return json.loads(html.unescape(found[1]))


@pytest.mark.slow
@browser
def test_the_page_works_in_a_browser(small_atlas, tmp_path):
    told = in_browser(site.page(small_atlas), CHECKS.read_text(encoding="utf-8"), tmp_path)
    assert told["errors"] == []
    assert told["loaded"] == []
    assert told["dead"] == []
    assert told["tiles"] == 8
    assert told["model"][0] == "Two \u2013 vlp-atlas"
    assert told["model"][1] >= 4
    assert told["model"][2]
    assert told["more"]
    assert told["back"]
    assert told["filtered"] == ["Two"]
    assert told["sorted"][:2] == ["ONE-large", "ONE-base"]
    assert (told["address"], told["aria"]) == ("#/models?sort=params", "params")
    assert told["focused"]
    assert told["finds"][0] == "#/search?q=infonce"
    assert told["finds"][1] == told["arrow"] == "#/objective/itc"
    assert told["none"]
    assert told["lost"] == [True, 0]
    assert "75.84" in told["compare"]
    assert "140" not in told["compare"]  # SCST has its own row
    assert told["pages"] > 30


def many(catalogue, times):
    """The catalogue with each record so many times, under new ids."""
    larger = dict(catalogue)
    for kind in ("papers", "models", "checkpoints", "results", "sources"):
        copies = [{**record, "id": f"{record['id']}-{n}"} for n in range(times) for record in catalogue[kind]]
        larger[kind] = sorted([*catalogue[kind], *copies], key=lambda record: record["id"])
    return larger


def test_a_page_of_thousands_of_facts_stays_below_a_megabyte_and_a_half(small):
    larger = many(small, 80)
    facts = sum("confidence" in str(value) for kind in larger["models"] for value in kind.values())
    assert facts + len(larger["results"]) > 1500
    assert len(site.page(Atlas(larger)).encode()) < 1_500_000
