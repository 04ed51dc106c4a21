"""The command `prop-ir`: names its verbs; a verb's code is loaded when the verb is asked for."""

from importlib.metadata import version

from nonet.cli import Verb
from nonet.cli import main as run_command

PROG = "prop-ir"

ABOUT = (
    "Re-rankers pre-trained with representative words (PROP, B-PROP): first stage, word sets, pre-training, "
    "fine-tuning with folds, re-ranking, tested comparisons."
)

VERBS = {
    "demo": Verb(
        "pre-train on a small made-up collection and re-rank it",
        "prop_ir.commands.demo",
        "prop-ir demo",
    ),
    "prepare": Verb(
        "tokenise and count a collection once, into a store",
        "prop_ir.commands.prepare",
        "prop-ir prepare --corpus docs.jsonl --tokenizer bert-base-uncased --out store",
    ),
    "index": Verb(
        "index a collection for the first stage",
        "prop_ir.commands.index",
        "prop-ir index --corpus docs.jsonl --out index",
    ),
    "search": Verb(
        "retrieve candidates with BM25",
        "prop_ir.commands.search",
        "prop-ir search --index index --topics topics.tsv --out bm25.trec",
    ),
    "sample": Verb(
        "show or export pairs of word sets with their likelihoods",
        "prop_ir.commands.sample",
        "prop-ir sample --store store --show 5",
    ),
    "bprop-attn": Verb(
        "weigh the words of every document by a model's attention, for B-PROP",
        "prop_ir.commands.bprop_attn",
        "prop-ir bprop-attn --store store --model bert-base-uncased --out weights",
    ),
    "pretrain": Verb(
        "pre-train a re-ranker on a collection, without queries or labels",
        "prop_ir.commands.pretrain",
        "prop-ir pretrain --store store --init bert-base-uncased",
    ),
    "finetune": Verb(
        "fine-tune a re-ranker on judged queries, with folds",
        "prop_ir.commands.finetune",
        "prop-ir finetune --model pretrained/model --corpus docs.jsonl --topics topics.tsv "
        "--qrels qrels.txt --run bm25.trec --folds 5",
    ),
    "rerank": Verb(
        "put a run's candidates in a model's order",
        "prop_ir.commands.rerank",
        "prop-ir rerank --model pretrained/model --corpus docs.jsonl --topics topics.tsv "
        "--run bm25.trec --out prop.trec",
    ),
    "evaluate": Verb(
        "score runs against judgements, with paired tests",
        "prop_ir.commands.evaluate",
        "prop-ir evaluate --qrels qrels.txt --runs bm25.trec prop.trec",
    ),
    "curve": Verb(
        "what a re-ranker reaches with 0, 10, 50, ... judged queries, with intervals",
        "prop_ir.commands.curve",
        "prop-ir curve --models pretrained/model --corpus docs.jsonl --topics topics.tsv "
        "--qrels qrels.txt --run bm25.trec --queries 0 10 50",
    ),
    "compare": Verb(
        "a page with two rankings side by side and the terms that moved documents",
        "prop_ir.commands.compare",
        "prop-ir compare --before bm25.trec --after prop.trec --topics topics.tsv --corpus docs.jsonl "
        "--out page.html",
    ),
    "convert": Verb(
        "bring the original's checkpoints and intermediate files into our layout",
        "prop_ir.commands.convert",
        "prop-ir convert --source xyma-PROP-wiki --out prop-wiki",
    ),
    "info": Verb(
        "say what a store, index, run or model folder holds",
        "prop_ir.commands.info",
        "prop-ir info --path store",
    ),
}


def main() -> int:
    """Run the command line; the result is the exit code."""
    return run_command(PROG, ABOUT, version("prop-ir"), VERBS, presets="prop_ir")


if __name__ == "__main__":
    raise SystemExit(main())
