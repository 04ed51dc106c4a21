import dataclasses

import yaml

from nonet.training.model_card import ModelCard, Score

CARD = ModelCard(
    title="pegasus-tiny",
    what="Writes summaries of e-mails.\n\nMade to be tried, not used.",
    tags=("summarization", "pegasus"),
    base="google/pegasus-large",
    data="AESLC: 14,436 e-mails with their subjects.",
    options={"steps": 100, "optimizer": {"name": "adafactor", "lr": 0.01}},
    scores=[
        Score("rouge1", 30.125, 29.5, 30.75, data="aeslc | test", count=1906),
        Score("rouge1", 12.0, data="scitldr"),
        Score("loss", 3.25),
    ],
    limits=["English only.", "Invents names."],
    load="""
        from transformers import AutoTokenizer
        tokenizer = AutoTokenizer.from_pretrained("pegasus-tiny")
    """,
)


def test_the_header_is_yaml_that_hubs_read():
    _, header, body = CARD.text().split("---\n", 2)
    assert yaml.safe_load(header) == {
        "license": "apache-2.0",
        "language": ["en"],
        "library_name": "transformers",
        "base_model": "google/pegasus-large",
        "tags": ["summarization", "pegasus"],
        "metrics": ["rouge1", "loss"],
    }
    assert body.startswith("\n# pegasus-tiny\n")


def test_the_body_has_every_part_in_order():
    text = CARD.text()
    parts = [
        "Writes summaries",
        "## How to use",
        "## Scores",
        "## Training data",
        "## Training options",
        "## Limits",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert "```python\nfrom transformers import AutoTokenizer\ntokenizer = " in text
    assert "```yaml\nsteps: 100\noptimizer:\n  name: adafactor\n  lr: 0.01\n```" in text
    assert "- English only.\n- Invents names.\n" in text


def test_scores_stand_in_a_table_with_intervals():
    lines = [line for line in CARD.text().splitlines() if line.startswith("|")]
    assert lines == [
        "| metric | value | 95 % interval | data | examples |",
        "| --- | --- | --- | --- | --- |",
        "| rouge1 | 30.12 | 29.5 to 30.75 | aeslc \\| test | 1,906 |",
        "| rouge1 | 12 |  | scitldr |  |",
        "| loss | 3.25 |  |  |  |",
    ]


def test_the_same_facts_give_the_same_text_and_empty_parts_are_left_out():
    assert dataclasses.replace(CARD).text() == CARD.text()
    plain = ModelCard(title="m", what="w").text()
    assert plain == "---\nlicense: apache-2.0\nlanguage:\n- en\nlibrary_name: transformers\n---\n\n# m\n\nw\n"


def test_options_may_be_yaml_already():
    assert "```yaml\nsteps: 5\n```" in ModelCard(title="m", what="w", options="steps: 5\n").text()
