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


@pytest.mark.parametrize("kind", ["model", "checkpoint", "paper", "result", "task", "source"])
def test_a_skeleton_passes_the_check_once_what_it_names_exists(kind, vlp, tmp_path):
    text = skeleton(kind, None if kind in ("result", "alias") else f"my-{kind}")
    for there, here in (
        ("2020-uniter", "2020-one"), ("uniter-base", "one-large"), ("model: uniter", "model: one"),
        ("value: 70.0", "value: 73.82"), ("test-dev", "test-dev"), ("https://example.org", "https://example.org/my"),
    ):  # fmt: skip
        text = text.replace(there, here)
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    code, out, _ = vlp("check mine.yaml")
    schema = [
        line
        for line in out.splitlines()
        if ": schema: " in line or ": yaml: " in line or ": reference: " in line
    ]
    assert schema == [], out
    assert code in (0, 1)  # the rules may find that FILL IN is no title


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
