"""What several test files of this package start from: made-up reports, a tokenizer and files of them."""

import json
import string

import pytest

from pegasus.toy import reports


@pytest.fixture(scope="session")
def toy_reports():
    return reports(60, seed=0)


@pytest.fixture(scope="session")
def toy_tokenizer(tmp_path_factory, toy_reports):
    """A tokenizer of 190 pieces that knows all letters, and its folder."""
    from pegasus.tokenizer import Tokenizer

    folder = tmp_path_factory.mktemp("toy") / "tokenizer"
    texts = [*(report.text for report in reports(300, seed=1)), *string.printable.strip()]
    tokenizer = Tokenizer.train(texts, 190, folder, character_coverage=1.0, threads=1)
    return tokenizer, folder


@pytest.fixture(scope="session")
def toy_files(tmp_path_factory, toy_reports):
    """A folder with corpus.txt (60 reports), train.jsonl (24 pairs) and val.jsonl (8 others)."""
    folder = tmp_path_factory.mktemp("toy-files")
    (folder / "corpus.txt").write_text("".join(report.text + "\n" for report in toy_reports))
    for name, part in (("train", toy_reports[:24]), ("val", toy_reports[24:32])):
        rows = [{"document": report.text, "summary": report.summary} for report in part]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
