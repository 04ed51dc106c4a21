"""Texts as rows in files: those of memory, of a corpus that is never held, and after interruptions."""

import hashlib
import pickle
import weakref

import numpy as np
import pytest

import keyphrase_plm.text_rows as text_rows
from keyphrase_plm.raw_texts import RawTexts
from keyphrase_plm.text_rows import TextRows, encode_texts, hold_out, is_written, write_rows
from keyphrase_plm.vocabulary import train_vocabulary
from nonet.errors import UserError

TEXTS = [f"graph {i} has {i * i} nodes and colouring it " + "takes long " * (i % 9) for i in range(90)]


class Text(str):
    """A text that can be watched, and is equal to itself alone."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


@pytest.fixture(scope="module")
def tokenizer():
    return train_vocabulary(TEXTS, 120, kind="wordpiece")


def ends_of_blocks(inner):
    """The short rows: the last ones of 40 texts each, with 14 pieces a row and a mark between texts."""
    found, rows = [], 0
    for first in range(0, len(inner), 40):
        held = 0
        for ids in inner[first : first + 40]:
            held += len(ids) + (held > 0)
            rows, held = rows + held // 14, held % 14
        if held:
            found, rows = [*found, rows], rows + 1
    return found


def ids_of(rows):
    return [row["ids"].tolist() for row in rows]


@pytest.mark.parametrize("pack", [False, True])
def test_rows_in_files_hold_each_text_once_and_are_those_in_memory(tokenizer, tmp_path, monkeypatch, pack):
    monkeypatch.setattr(text_rows, "BLOCK", 40)
    shards = write_rows(TEXTS, tokenizer, tmp_path, length=16, pack=pack, bytes_per_shard=500)
    rows = TextRows(shards)
    assert len(list(tmp_path.glob("*.safetensors"))) == 3, "a file for each block"
    assert ids_of(rows) == ids_of(encode_texts(TEXTS, tokenizer, length=16, pack=pack))
    assert rows.lengths.tolist() == [[len(ids), len(ids)] for ids in ids_of(rows)]
    assert rows[0]["ids"].dtype == np.int32
    assert ids_of(pickle.loads(pickle.dumps(rows))) == ids_of(rows)
    assert ids_of(TextRows(shards, np.array([5, 2]))) == [ids_of(rows)[5], ids_of(rows)[2]]
    assert shards.records == len(TEXTS)
    inner = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    if pack:
        joined = [i for ids in ids_of(rows) for i in ids[1:-1] if i != 3]  # 3 stands between texts
        assert joined == [i for ids in inner for i in ids]
        assert [at for at, ids in enumerate(ids_of(rows)) if len(ids) < 16] == ends_of_blocks(inner)
    else:
        parts = [
            ids[at : at + 14]
            for ids in inner
            for at in range(0, len(ids), 14)
            if at == 0 or at + 8 <= len(ids)
        ]
        assert ids_of(rows) == [[2, *part, 3] for part in parts]


@pytest.mark.parametrize("pack", [False, True])
def test_an_interrupted_writing_goes_on_without_the_texts_that_are_done(
    tokenizer, tmp_path, monkeypatch, pack
):
    monkeypatch.setattr(text_rows, "BLOCK", 20)
    given = {"length": 16, "pack": pack, "bytes_per_shard": 500, "source": "mine"}
    whole = write_rows(TEXTS, tokenizer, tmp_path / "whole", **given)

    def broken():
        yield from TEXTS[:50]
        raise KeyboardInterrupt

    folder = tmp_path / "broken"
    with pytest.raises(KeyboardInterrupt):
        write_rows(broken(), tokenizer, folder, **given)
    assert not is_written(folder)
    done = []
    write_rows(TEXTS, tokenizer, folder, **given, progress=done.append)
    assert done == [40, 20, 20, 10]
    assert is_written(folder)
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes()
    assert len(whole) > 90 / 3


def test_a_writing_goes_on_for_the_same_texts_and_tokenizer_alone(tokenizer, tmp_path):
    def broken():
        yield from TEXTS
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_rows(broken(), tokenizer, tmp_path, length=16, source="mine")
    with pytest.raises(UserError, match='was begun with source = "mine", not "yours"'):
        write_rows(TEXTS, tokenizer, tmp_path, length=16, source="yours")
    other = train_vocabulary(["another one"], 60, kind="wordpiece")
    with pytest.raises(UserError, match="was begun with tokenizer = "):
        write_rows(TEXTS, other, tmp_path, length=16, source="mine")


def test_of_a_corpus_no_more_than_two_blocks_of_texts_are_alive(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(text_rows, "BLOCK", 10)
    alive, most = weakref.WeakSet(), 0

    def stream():
        nonlocal most
        for i in range(400):
            text = Text(f"graph {i}")
            alive.add(text)
            most = max(most, len(alive))
            yield text

    write_rows(stream(), tokenizer, tmp_path, length=16)
    assert 10 <= most <= 21


def test_texts_are_read_anew_in_each_loop(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("One\nTwo\nThree\n")
    texts = RawTexts([path], limit=2)
    assert list(texts) == list(texts) == ["one", "two"]
    path.write_text("Four\n")
    assert list(texts) == ["four"]


def test_a_vocabulary_is_learnt_without_holding_the_texts():
    class Stream:
        alive, most, loops = weakref.WeakSet(), 0, 0

        def __iter__(self):
            Stream.loops += 1
            for text in TEXTS * 3:
                made = Text(text)
                self.alive.add(made)
                Stream.most = max(Stream.most, len(self.alive))
                yield made

    streamed = train_vocabulary(Stream(), 120, kind="wordpiece")
    assert streamed.get_vocab() == train_vocabulary(TEXTS * 3, 120, kind="wordpiece").get_vocab()
    assert Stream.loops == 2
    assert Stream.most < 270, "the trainer itself takes some at a time"


def test_held_out_rows_are_the_first_in_the_order_of_number_and_seed():
    def order(seed):
        return sorted(
            range(50), key=lambda i: hashlib.blake2b(f"{seed} {i}".encode(), digest_size=16).digest()
        )

    for seed in (0, 7):
        train, held = hold_out(50, 6, seed=seed)
        assert held.tolist() == sorted(order(seed)[:6])
        assert sorted([*train, *held]) == list(range(50))
    assert hold_out(3, 0, seed=0)[0].tolist() == [0, 1, 2]
