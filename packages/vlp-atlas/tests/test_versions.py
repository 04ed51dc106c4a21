import pytest

from nonet.errors import UserError
from vlp_atlas.versions import migrated


def renamed(old, new):
    def step(catalogue):
        catalogue = dict(catalogue)
        catalogue[new] = catalogue.pop(old)
        return catalogue

    return step


def test_earlier_minor_versions_go_through_every_step_and_stay_as_they_were():
    steps = {(1, 0): renamed("a", "b"), (1, 1): renamed("b", "c")}
    old = {"schema_version": "1.0.3", "a": 5}
    assert migrated(old, "f", current="1.2.0", steps=steps) == {"schema_version": "1.2.0", "c": 5}
    assert migrated({"schema_version": "1.1", "b": 5}, "f", current="1.2.0", steps=steps)["c"] == 5
    assert old == {"schema_version": "1.0.3", "a": 5}


def test_a_minor_version_without_a_step_is_only_renumbered():
    assert migrated({"schema_version": "1.0.0", "a": 5}, "f", current="1.3.0", steps={}) == {
        "schema_version": "1.3.0", "a": 5,
    }  # fmt: skip


def test_what_has_no_version_is_of_this_one():
    assert migrated({"a": 5}, "f", current="1.2.0", steps={}) == {"a": 5}


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("1.3.0", r"f\.yaml: written for schema 1\.3\.0, and this is 1\.2\.9: install a later vlp-atlas"),
        ("2.0.0", "install a later vlp-atlas"),
        ("0.9.0", r"written for schema 0\.9\.0, which 1\.2\.9 does not read"),
        ("one", r"schema_version is 'one'; write it as 1\.2\.9"),
    ],
)
def test_other_versions_are_refused(version, message):
    with pytest.raises(UserError, match=message):
        migrated({"schema_version": version}, "f.yaml", current="1.2.9", steps={})


def test_a_later_patch_is_read():
    assert migrated({"schema_version": "1.2.10"}, "f", current="1.2.9", steps={})["schema_version"] == "1.2.9"
