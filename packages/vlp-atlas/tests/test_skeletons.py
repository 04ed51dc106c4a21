import re

import pytest
import yaml

from nonet.errors import UserError
from vlp_atlas.schema import FILES
from vlp_atlas.skeletons import SINGULAR, skeleton


@pytest.mark.parametrize("kind", SINGULAR)
def test_a_skeleton_has_every_required_field_and_names_the_others(kind):
    text = skeleton(kind)
    record = FILES[SINGULAR[kind]]
    (made,) = yaml.safe_load(text)[SINGULAR[kind]]
    required = {name for name, field in record.model_fields.items() if field.is_required()}
    assert required <= set(made)
    for name in set(record.model_fields) - set(made) - {"local", "replaced_by", "alternatives", "id"}:
        assert f"# {name}: " in text


@pytest.mark.parametrize("kind", SINGULAR)
def test_the_check_names_each_line_of_a_skeleton_until_it_is_filled_in(kind, vlp, tmp_path):
    file = tmp_path / "mine.yaml"
    text = skeleton(kind)
    for there, here in (
        ("2020-uniter", "2020-one"), ("uniter-base", "one-large"), ("id: uniter", "id: one"),
        ("model: uniter", "model: one"), ("value: 70.0", "value: 73.82"),
    ):  # fmt: skip  # what the small catalogue has
        text = text.replace(there, here)
    file.write_text(text, encoding="utf-8")
    left = [
        f"mine.yaml:{number}:{re.search('[a-z]', line).start() + 1}: unfilled: still says {says}: fill it in"
        for number, line in enumerate(text.splitlines(), 1)
        for says in ("FILL IN", "example.org")
        if says in line
    ]
    assert len(left) >= 2
    code, out, _ = vlp("check mine.yaml")
    assert out.splitlines() == [*left, f"mine.yaml: {len(left)} defects"]
    assert code == 1
    filled = text.replace("https://example.org", "https://papers.test/my").replace("FILL IN", "My own")
    file.write_text(filled, encoding="utf-8")
    assert vlp("check mine.yaml") == (0, "mine.yaml: no defects\n", "")


def test_a_skeleton_claims_nothing_that_was_read():
    for kind in SINGULAR:
        (made,) = yaml.safe_load(skeleton(kind))[SINGULAR[kind]]
        assert made.get("confidence", "unverified") == "unverified"


def test_what_is_not_filled_in_is_named_beside_other_defects(vlp, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "sources:\n"
        "  - {id: mine, kind: leaderboard, title: FILL IN, url: 'https://a.test', retrieved: soon}\n",
        encoding="utf-8",
    )
    code, out, _ = vlp("check mine.yaml")
    assert code == 1
    assert [line.split(": ")[1] for line in out.splitlines()[:-1]] == ["unfilled", "schema"]


def test_new_writes_a_file_once(vlp, tmp_path):
    assert vlp("new model --id my-net --out my.yaml")[0] == 0
    assert "id: my-net" in (tmp_path / "my.yaml").read_text(encoding="utf-8")
    code, _, err = vlp("new model --out my.yaml")
    assert code == 2
    assert "--force" in err


def test_an_id_that_is_none_is_refused():
    with pytest.raises(UserError, match=r"--id My Net: lower-case"):
        skeleton("model", "My Net")
    with pytest.raises(UserError, match="no kind 'modle'"):
        skeleton("modle")
