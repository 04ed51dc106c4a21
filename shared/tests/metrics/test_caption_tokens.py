"""Words of captions: cases as the Java tokenizer gives them, and that tokenizer where it can run."""

import csv
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nonet.metrics.caption_tokens import DROPPED, tokens
from nonet.testing import data_folder, needs

# What pycocoevalcap's tokenizer gives, its punctuation dropped.
CASES = {
    "A man's dog isn't here, it's a T-shirt.": "a man 's dog is n't here it 's a t-shirt",
    "Don't! Cannot? gonna gotta wanna": "do n't can not gon na got ta wan na",
    "(a dog) [a cat]": "-lrb- a dog -rrb- -lsb- a cat -rsb-",
    "black/white and/or 50% of $5 #1 & more": "black/white and/or 50 % of $ 5 # 1 & more",
    "well-dressed -- a dog - a cat... and": "well-dressed a dog a cat and",
    "Mr. Smith at 2:30 p.m. in the U.S. today.": "mr. smith at 2:30 p.m. in the u.s. today",
    "1,000 people at 3.5 miles": "1,000 people at 3.5 miles",
    'He said "hello" to the boys\' dog': "he said hello to the boys dog",
    "rock 'n' roll in the '90s": "rock 'n' roll in the '90s",
    "“quoted” ‘single’ it’s café — em": "quoted single it 's café em",
    "dog,cat;a cat:a man a,b 7,5": "dog cat a cat a man a b 7,5",
    "a woman w/ a hat @ home": "a woman w / a hat @ home",
    "y'all 'em 'tis o'clock we've I'd they'll": "y' all 'em 't is o'clock we 've i 'd they 'll",
    "no. 1 vs. two. no.": "no. 1 vs. two no",
    "5'10\" tall": "5 10 tall",
    "hello!! what?! .. ....": "hello !! what ?!",
    "": "",
    " \n\t ": "",
}


@pytest.mark.parametrize(("caption", "expected"), CASES.items())
def test_captions_are_split_as_by_the_java(caption: str, expected: str) -> None:
    assert tokens(caption) == expected.split()


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(max_size=40))
def test_any_text_gives_lower_case_words_without_dropped_marks_or_blanks(text: str) -> None:
    for word in tokens(text):
        assert word
        assert word not in DROPPED
        assert not any(letter.isspace() for letter in word)
        assert word == word.lower()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(["a", "dog", "t-shirt", "cats", "sleeping"]), max_size=8))
def test_plain_words_stay_as_they_are(words: list[str]) -> None:
    assert tokens(" ".join(words)) == words
    assert tokens(" ".join(words).upper() + " .") == words


@pytest.mark.peer
@needs("pycocoevalcap")
def test_captions_of_people_are_split_as_by_the_java(tmp_path: Path) -> None:
    import pycocoevalcap

    java = shutil.which("java")
    if java is None:
        pytest.skip("needs Java")
    jar = Path(next(iter(pycocoevalcap.__path__))) / "tokenizer" / "stanford-corenlp-3.4.1.jar"
    with data_folder("flickr8k-mini", "captions.txt").open(encoding="utf-8", newline="") as file:
        captions = [" ".join(row["caption"].split()) for row in csv.DictReader(file)] + list(CASES)[:-2]
    # A blank line after each: an abbreviation looks for a number beyond the end of its line.
    (tmp_path / "in.txt").write_text("\n\n".join(captions), encoding="utf-8")
    told = subprocess.run(
        [java, "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase",
         "-encoding", "utf-8", str(tmp_path / "in.txt")],
        capture_output=True, encoding="utf-8", check=True, timeout=60,
    )  # fmt: skip
    lines = told.stdout.split("\n")[::2]
    assert len(lines) >= len(captions)
    wrong = [
        (caption, line)
        for caption, line in zip(captions, lines, strict=False)
        if tokens(caption) != [word for word in line.split() if word not in DROPPED]
    ]
    assert not wrong
