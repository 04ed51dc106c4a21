import json

from nonet.cli.facts import print_facts

FACTS = {"model": {"a": 12345, "long name": "text", "yes": True}, "empty": {}}


def test_names_and_values_stand_in_columns(capsys):
    print_facts(FACTS)
    assert capsys.readouterr().out.splitlines() == [
        "model",
        "  a          12,345",
        "  long name  text",
        "  yes        True",
        "empty",
    ]


def test_json_has_the_same_parts(capsys):
    print_facts(FACTS, as_json=True)
    assert json.loads(capsys.readouterr().out) == FACTS
