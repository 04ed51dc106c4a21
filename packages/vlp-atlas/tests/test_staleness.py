import pytest

from nonet.errors import UserError
from vlp_atlas.staleness import stale


def record(catalogue, kind, id_):
    return next(found for found in catalogue[kind] if found["id"] == id_)


def messages(catalogue, today, **options):
    return [defect.message for defect in stale(catalogue, today, **options)]


def test_nothing_is_stale_on_the_day_but_an_old_preprint(small):
    assert messages(small, "2026-11-25") == [
        "papers 2021-two: a preprint since 2021-07-16: was it published?"
    ]
    assert {defect.rule for defect in stale(small, "2026-11-25")} == {"stale"}


@pytest.mark.parametrize(("today", "found"), [("2023-07-16", False), ("2023-07-17", True)])
def test_a_preprint_is_old_after_two_years(small, today, found):
    assert any("a preprint since" in message for message in messages(small, today)) is found


def test_links_are_checked_once_a_year_or_as_asked(small):
    assert not any("last checked" in message for message in messages(small, "2027-11-20"))
    assert any("last checked 2026-11-20" in message for message in messages(small, "2027-11-21"))
    assert any("last checked 2026-11-20" in message for message in messages(small, "2026-11-25", days=4))
    del record(small, "papers", "2021-two")["code"]["value"][0]["checked"]
    record(small, "datasets", "coco")["links"] = [{"url": "https://cocodataset.org"}]
    never = [message for message in messages(small, "2026-11-25") if "never checked" in message]
    assert never == [
        "datasets coco: https://cocodataset.org was never checked",
        "papers 2021-two: https://github.com/cole/two was never checked",
    ]


def test_old_sources_are_told_with_the_facts_that_rest_on_them_alone(small):
    old = [message for message in messages(small, "2027-11-21") if "rest on it alone" in message]
    assert "sources survey: was read 2026-11-20, and 2 facts rest on it alone" in old
    assert not any(message.startswith("sources memory") for message in old)
    assert not any(message.startswith("sources 2020-one") for message in old)


def test_wrong_days_are_refused(small):
    for day in ("today", "2026-11", "2026-13-01"):
        with pytest.raises(UserError, match="is no day"):
            stale(small, day)
    with pytest.raises(UserError, match="-1 days"):
        stale(small, "2026-11-25", days=-1)
