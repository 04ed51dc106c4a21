"""What `info` says of a store, run, judgements, model, index and collection made by hand."""

import gzip
import json

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from nonet.data.safetensors_file import write_tensors
from nonet.errors import UserError
from nonet.runs import Run
from prop_ir.building import build_store
from prop_ir.commands import info
from prop_ir.documents import Document
from prop_ir.facts import describe


@pytest.fixture
def store(tmp_path):
    backend = Tokenizer(models.WordLevel({"[UNK]": 0, "cat": 1, "the": 2, "river": 3}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    texts = ["the cat cat", "the river", "", "cat river cat"]
    documents = [Document(f"d{i}", text, f"made-up:{i + 1}") for i, text in enumerate(texts)]
    return build_store(documents, backend, tmp_path / "store", max_pieces=3)[0]


def test_a_store_says_its_sizes_words_and_what_they_mean_for_sampling(store):
    ((part, facts),) = describe(store.folder).items()
    assert part == "store"
    assert (facts["documents"], facts["left out"], facts["types"], facts["words"]) == (3, 1, 2, 6)
    assert facts["mean words of a document"] == 2.0
    assert (facts["pieces"], facts["documents cut"]) == (8, 2)
    assert facts["most frequent words"] == "cat 4, river 2"
    assert facts["types occurring 10 times or more"] == 0
    assert facts["words.regex"] == "[a-zA-Z]+"
    assert "6 words are few: --sampler.keep 1e-4 rejects" in facts["note"]
    assert "only 0 of 2 types occur 10 times or more; a lower --sampler.floor" in facts["note"]
    assert facts["bytes"] == sum(path.stat().st_size for path in store.folder.glob("*.safetensors"))


def test_an_unfinished_store_is_named(store):
    (store.folder / "meta.json").unlink()
    with pytest.raises(UserError, match="an unfinished store"):
        describe(store.folder)


def test_a_run_file(tmp_path):
    path = tmp_path / "bm25.trec"
    path.write_text("q1 Q0 a 1 3.5 tagged\nq1 Q0 b 2 1 tagged\nq2 Q0 a 1 -2e-1 tagged\n")
    facts = describe(path)["run"]
    assert (facts["queries"], facts["documents"], facts["tag"]) == (2, 2, "tagged")
    assert facts["candidates of a query"] == "1 to 2"
    assert facts["scores"] == "-0.2 to 3.5"
    packed = tmp_path / "bm25.trec.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert describe(packed)["run"] == facts


def test_judgements(tmp_path):
    path = tmp_path / "qrels.txt"
    path.write_text("q1 0 a 1\nq1 0 b 0\nq2 0 a 2\nq3 0 a 0\n")
    facts = describe(path)["qrels"]
    assert (facts["queries"], facts["queries with a relevant document"], facts["judgements"]) == (3, 2, 4)
    assert facts["grades"] == "0: 2, 1: 1, 2: 1"
    beir = tmp_path / "test.tsv"
    beir.write_text("query-id\tcorpus-id\tscore\n1\ta\t1\n")
    assert describe(beir)["qrels"]["judgements"] == 1


def test_a_model_folder_says_which_heads_it_has(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}')
    assert describe(tmp_path)["model"]["weights"] == "no .safetensors"
    weights = {"bert.embeddings.w": np.zeros(6, np.float32), "bert.pooler.dense.w": np.zeros(2, np.float32)}
    write_tensors(tmp_path / "model.safetensors", weights)
    facts = describe(tmp_path)["model"]
    assert (facts["model_type"], facts["architectures"], facts["parameters"]) == ("bert", "BertModel", 8)
    assert (facts["ranking head"], facts["masked-word head"]) == ("no", "no")
    assert facts["pooler"] == "yes (bert.pooler.dense.w, ...)"
    write_tensors(tmp_path / "model.safetensors", weights | {"classifier.bias": np.zeros(1, np.float32)})
    write_tensors(tmp_path / "mlm_head.safetensors", {"x": np.zeros(5, np.float32)})
    facts = describe(tmp_path)["model"]
    assert facts["parameters"] == 9
    assert facts["ranking head"] == "yes (classifier.bias, ...)"
    assert facts["masked-word head"] == "yes (mlm_head.safetensors)"
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match=r"model.safetensors is damaged"):
        describe(tmp_path)


def test_a_run_folder_has_its_model_s_facts_too(tmp_path):
    options = info.Options(path=tmp_path)
    with Run.create("prop_ir", "pretrain", options, seed=7, folder=tmp_path / "run") as run:
        run.log(1, loss=2.5)
        run.log(2, loss=1.5)
        (run.folder / "model").mkdir(exist_ok=True)
        (run.folder / "model" / "config.json").write_text('{"model_type": "bert"}')
    facts = describe(run.folder)
    told = facts["run folder"]
    assert (told["verb"], told["seed"], told["exit"], told["sessions"]) == ("pretrain", 7, 0, 1)
    assert (told["last step"], told["last loss"]) == ("2", "1.5")
    assert facts["model"]["model_type"] == "bert"


def test_any_folder_with_our_meta_json_shows_it(tmp_path):
    meta = {"kind": "first-stage index", "engine": {"name": "bm25", "k1": 0.9}, "fields": ["a", "b"]}
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    assert describe(tmp_path) == {
        "first-stage index": {
            "kind": "first-stage index",
            "engine.name": "bm25",
            "engine.k1": 0.9,
            "fields": "a, b",
        }
    }


def test_a_collection_shows_its_first_document(tmp_path):
    (tmp_path / "docs.jsonl").write_text('{"id": "a", "title": "T", "text": "body"}\n')
    facts = describe(tmp_path / "docs.jsonl")["collection"]
    assert (facts["files"], facts["first id"], facts["text"]) == (1, "a", "T. body")
    assert describe(tmp_path)["collection"]["first id"] == "a"


def test_what_nobody_knows_is_refused(tmp_path):
    with pytest.raises(UserError, match="absent does not exist"):
        describe(tmp_path / "absent")
    with pytest.raises(UserError, match="is no store, index, model, run or collection; it has nothing"):
        describe(tmp_path)
    (tmp_path / "notes.txt").write_text("some notes")
    with pytest.raises(UserError, match="is no run, qrels or collection"):
        describe(tmp_path / "notes.txt")
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(UserError, match=r"config.json: holds no JSON object"):
        describe(tmp_path)


def test_the_command_prints_text_or_json(store, capsys):
    assert info.run(info.Options(path=store.folder)) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "store"
    assert told[1].split() == ["documents", "3"]
    assert info.run(info.Options(path=store.folder, json=True)) == 0
    assert json.loads(capsys.readouterr().out)["store"]["documents"] == 3
