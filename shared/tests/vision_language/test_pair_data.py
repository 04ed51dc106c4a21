import json

import numpy as np
import pytest
import torch
from PIL import Image

from nonet.data.batching import RandomBatches, StepSampler, loader
from nonet.data.image_augment import PlainImages, TrainImages
from nonet.data.image_text_pairs import read_pairs
from nonet.errors import RunFailed, UserError
from nonet.vision_language.caption_tokenizer import named_tokenizer, train_tokenizer
from nonet.vision_language.pair_data import (
    EvaluationImages,
    PairCollate,
    PairDataset,
    TextBatch,
    UnreadableImages,
)

WORDS = ["dog", "cat", "on", "the", "left", "mat", "sat", "runs", "fast", "today"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    random = np.random.default_rng(0)
    records = []
    for number in range(12):
        Image.fromarray(random.integers(0, 256, (20, 30, 3), np.uint8)).save(folder / f"{number}.png")
        captions = [" ".join(random.choice(WORDS, 1 + (number + extra) % 8)) for extra in range(3)]
        records.append({"image": f"{number}.png", "caption": captions, "image_id": number // 2})
    (folder / "pairs.json").write_text(json.dumps(records))
    return folder


@pytest.fixture(scope="module")
def table(folder):
    return read_pairs([folder / "pairs.json"])


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([" ".join(WORDS)] * 3, 200)


def words(tokenizer, row):
    return tokenizer.decode(row)


def test_a_batch_holds_what_it_says(table, tokenizer):
    data = PairDataset(table, TrainImages(height=16, width=24), seed=3)
    items = [data[(0, index)] for index in range(12)]
    batch = PairCollate(tokenizer)(items)
    assert batch["images"].shape == (12, 3, 16, 24)
    assert batch["images"].dtype == torch.float32
    assert batch["image_ids"].tolist() == [n // 2 for n in range(12)]
    assert batch["ids"][3].endswith("pairs.json:record 4")
    assert batch["unreadable"] == []
    for row, caption in enumerate(batch["captions"]):
        assert caption in table.captions_of(row)
        length = int(batch["attention_mask"][row].sum())
        assert words(tokenizer, batch["input_ids"][row, :length]) == f"[CLS] {caption} [SEP]"
        assert (batch["input_ids"][row, length:] == tokenizer.pad_token_id).all()
        prefix, target = (
            words(tokenizer, batch[f"{half}_ids"][row][batch[f"{half}_mask"][row].bool()])
            for half in ("prefix", "target")
        )
        assert target.endswith("[SEP] [SEP]")
        given, rest = prefix[5:-5].split(), target[5:-11].split()
        assert given + rest == caption.split()
        assert rest
    same = batch["caption_ids"][:, None] == batch["caption_ids"]
    assert same.tolist() == [[one == other for other in batch["captions"]] for one in batch["captions"]]


def test_one_word_is_written_after_nothing(tokenizer):
    texts = TextBatch(tokenizer)
    begin, end, dog = (tokenizer.convert_tokens_to_ids(piece) for piece in ("[CLS]", "[SEP]", "dog"))
    assert texts([""])[0].tolist() == [[begin, end]]
    assert texts(["dog"], end_twice=True)[0].tolist() == [[begin, dog, end, end]]


def test_word_pieces_are_those_of_the_tokenizer_itself(tokenizer):
    captions = ["dog", "the cat sat on the mat", " ".join(WORDS * 4)]
    theirs = tokenizer(captions, padding=True, truncation=True, max_length=20, return_tensors="pt")
    ids, mask = TextBatch(tokenizer, 20)(captions)
    assert torch.equal(ids, theirs["input_ids"])
    assert torch.equal(mask, theirs["attention_mask"])
    assert ids.shape == (3, 20)
    assert ids[2, -1] == tokenizer.sep_token_id


def test_the_same_batches_come_with_any_number_of_workers(table, tokenizer):
    def batches(workers):
        data = PairDataset(table, TrainImages(height=16, width=16), seed=1)
        sampler = StepSampler(RandomBatches(12, 5, 1), start=1, steps=4)
        return list(loader(data, sampler, PairCollate(tokenizer), workers=workers))

    alone, two = batches(0), batches(2)
    assert len(alone) == 4
    for one, other in zip(alone, two, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            same = (
                torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]
            )
            assert same, name


def test_visits_differ_by_epoch_and_seed(table):
    def visit(seed, epoch):
        return PairDataset(table, TrainImages(height=16, width=16), seed=seed)[(epoch, 4)]

    assert torch.equal(visit(1, 0).image, visit(1, 0).image)
    assert not torch.equal(visit(1, 0).image, visit(1, 1).image)
    assert not torch.equal(visit(1, 0).image, visit(2, 0).image)


def test_every_caption_and_every_cut_comes_equally_often(table):
    data = PairDataset(table, PlainImages(height=2, width=2))
    visits = [data[(epoch, 5)] for epoch in range(900)]
    for caption in (texts := table.captions_of(5)):
        cuts = [visit.cut for visit in visits if visit.caption == caption]
        assert 900 / len(texts) * 0.8 < len(cuts) < 900 / len(texts) * 1.2
        counts = np.bincount(cuts, minlength=len(caption.split()))
        assert len(counts) == len(caption.split())
        assert counts.min() > 0.5 * counts.mean()


def test_an_image_is_not_mirrored_where_its_caption_tells_sides(table):
    asked = []

    def watch(image, random, *, may_flip):
        asked.append(may_flip)
        return torch.zeros(3, 2, 2)

    for careful in (True, False):
        data = PairDataset(table, watch, careful_flip=careful)
        captions = [data[(epoch, index)].caption for epoch in range(3) for index in range(12)]
        expected = [not (careful and "left" in caption.split()) for caption in captions]
        assert asked == expected
        assert careful != all(expected)
        asked.clear()


@pytest.fixture
def broken(folder, tmp_path):
    whole = json.loads((folder / "pairs.json").read_text())
    for record in whole:
        record["image"] = str(folder / record["image"])
    (tmp_path / "cut.png").write_bytes((folder / "0.png").read_bytes()[:300])
    whole[3]["image"] = str(tmp_path / "cut.png")
    whole[5]["image"] = str(tmp_path / "absent.png")
    (tmp_path / "pairs.json").write_text(json.dumps(whole))
    return read_pairs([tmp_path / "pairs.json"])


def test_another_image_takes_the_place_of_one_that_cannot_be_read(broken, tokenizer):
    data = PairDataset(broken, PlainImages(height=4, width=4), seed=0)
    items = [data[(0, index)] for index in range(12)]
    assert [item.row for item in items if not item.unreadable] == [0, 1, 2, 4, 6, 7, 8, 9, 10, 11]
    for asked in (3, 5):
        assert items[asked].row not in (3, 5)
        assert items[asked].caption in broken.captions_of(items[asked].row)
        assert items[asked].number == broken.numbers[items[asked].row]
    texts = PairCollate(tokenizer)(items)["unreadable"]
    assert any("cut.png: cannot be decoded" in text for text in texts)
    assert any(text.endswith("absent.png: no such file") for text in texts)


def test_unreadable_images_are_said_once_and_stop_a_run_above_the_limit():
    said = []
    watch = UnreadableImages(200, 0.01, said.append)
    for _ in range(3):
        watch({"unreadable": ["a.png: no such file", "b.png: no such file"]})
    watch({})
    assert said == [f"{name}: no such file; another image takes its place" for name in ("a.png", "b.png")]
    with pytest.raises(RunFailed, match=r"3 of 200 images cannot be read, more than 1.0%, such as a.png"):
        watch({"unreadable": ["c.png: no such file"]})
    with pytest.raises(RunFailed, match=r"more than 0.0%"):
        UnreadableImages(200, 0, said.append)({"unreadable": ["a.png: no such file"]})
    UnreadableImages(12, 0.01, said.append)({"unreadable": ["a.png: no such file"]})


def test_nothing_but_unreadable_images_stops_at_once(tmp_path):
    (tmp_path / "a.png").write_text("no image")
    (tmp_path / "pairs.json").write_text('[{"image": "a.png", "caption": "x"}]')
    data = PairDataset(read_pairs([tmp_path / "pairs.json"]), PlainImages(height=4, width=4))
    with pytest.raises(RunFailed, match="20 images in a row cannot be read"):
        data[(0, 0)]


@pytest.mark.parametrize(
    ("mode", "ending"),
    [
        ("CMYK", "jpg"),
        ("RGBA", "png"),
        ("L", "png"),
        ("P", "gif"),
        ("I;16", "png"),
        ("1", "png"),
        ("LA", "png"),
    ],
)
def test_images_of_every_kind_become_three_channels(tmp_path, mode, ending):
    Image.new(mode, (9, 7)).save(tmp_path / f"a.{ending}")
    (tmp_path / "pairs.json").write_text(json.dumps([{"image": f"a.{ending}", "caption": "x"}]))
    data = PairDataset(read_pairs([tmp_path / "pairs.json"]), TrainImages(height=8, width=8))
    assert data[(0, 0)].image.shape == (3, 8, 8)


def test_evaluation_sees_each_image_once(table):
    images = EvaluationImages(table, PlainImages(height=4, width=4))
    assert len(images) == 6
    assert torch.equal(images[2], PlainImages(height=4, width=4)(table.open(4)))


def test_a_tokenizer_without_ends_is_refused(tokenizer):
    class Bare:
        cls_token_id = 1
        sep_token_id = None
        pad_token_id = None

    with pytest.raises(UserError, match="the tokenizer has no sep_token, pad_token"):
        TextBatch(Bare())
    with pytest.raises(UserError, match="max_length is 2"):
        TextBatch(tokenizer, 2)


def test_a_learnt_tokenizer_knows_frequent_words_and_is_saved(tmp_path, tokenizer):
    assert tokenizer.tokenize("The CAT sat") == ["the", "cat", "sat"]
    assert tokenizer.tokenize("catd") == ["cat", "##d"]
    assert [tokenizer.convert_ids_to_tokens(n) for n in range(5)] == [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
    ]
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    again = named_tokenizer(tmp_path / "tokenizer")
    assert again.get_vocab() == tokenizer.get_vocab()
    assert again("the cat sat on a mat")["input_ids"] == tokenizer("the cat sat on a mat")["input_ids"]


def test_a_learnt_tokenizer_does_not_depend_on_the_order_of_captions():
    captions = [" ".join(np.random.default_rng(n).choice(WORDS, 4)) + f" number{n % 7}" for n in range(60)]
    one, other = train_tokenizer(captions, 120), train_tokenizer(captions[::-1], 120)
    assert one.get_vocab() == other.get_vocab()
    assert len(one) <= 120


def test_impossible_tokenizers_are_refused(tmp_path):
    with pytest.raises(UserError, match="no captions to learn word pieces from"):
        train_tokenizer([], 100)
    with pytest.raises(UserError, match="10 word pieces are too few"):
        train_tokenizer(["abcdefgh"], 10)
    with pytest.raises(UserError, match="no tokenizer in it"):
        named_tokenizer(tmp_path)
