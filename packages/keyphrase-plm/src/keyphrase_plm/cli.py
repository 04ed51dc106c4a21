"""The command `keyphrase-plm`: names its verbs; a verb's code is loaded when the verb is asked for."""

from importlib.metadata import version

from nonet.cli import Verb
from nonet.cli import main as run_command

PROG = "keyphrase-plm"

ABOUT = (
    "Present and absent keyphrases with pre-trained models: data, pre-training, four families, one scorer."
)

VERBS = {
    "demo": Verb(
        "pre-train, train, predict and score on a small made-up corpus",
        "keyphrase_plm.commands.demo",
        "keyphrase-plm demo",
    ),
    "prepare": Verb(
        "bring a data set of any known layout into one format, with the present and absent phrases apart",
        "keyphrase_plm.commands.prepare",
        "keyphrase-plm prepare --input kp20k_train.json --out train.jsonl",
    ),
    "pretrain": Verb(
        "pre-train an encoder by masked words, or a BART by text infilling, on raw text",
        "keyphrase_plm.commands.pretrain",
        "keyphrase-plm pretrain --preset tiny --data abstracts.jsonl",
    ),
    "train tag": Verb(
        "train a tagger of present phrases, with or without a CRF",
        "keyphrase_plm.commands.train_tag",
        "keyphrase-plm train tag --init bert-base-uncased --train train.jsonl --val valid.jsonl",
    ),
    "train seq2seq": Verb(
        "train BART or T5 to write phrases",
        "keyphrase_plm.commands.train_seq2seq",
        "keyphrase-plm train seq2seq --init facebook/bart-base --train train.jsonl --val valid.jsonl",
    ),
    "train b2b": Verb(
        "train an encoder-decoder made of two encoder-only models",
        "keyphrase_plm.commands.train_b2b",
        "keyphrase-plm train b2b --encoder bert-base-uncased --decoder bert-base-uncased --train train.jsonl",
    ),
    "train prefix-lm": Verb(
        "train one encoder-only model to write phrases",
        "keyphrase_plm.commands.train_prefix_lm",
        "keyphrase-plm train prefix-lm --init bert-base-uncased --train train.jsonl --val valid.jsonl",
    ),
    "predict": Verb(
        "write the keyphrases of documents, by a model or an unsupervised method",
        "keyphrase_plm.commands.predict",
        "keyphrase-plm predict --model runs/tag/model --input test.jsonl --out phrases.jsonl",
    ),
    "select": Verb(
        "add the sampled phrases that a one-phrase model finds as likely as the greedy ones (DeSel)",
        "keyphrase_plm.commands.select",
        "keyphrase-plm select --model model --scorer one2one --input test.jsonl --out phrases.jsonl",
    ),
    "evaluate": Verb(
        "score predictions against gold phrases, under a named convention",
        "keyphrase_plm.commands.evaluate",
        "keyphrase-plm evaluate --pred phrases.jsonl --gold test.jsonl",
    ),
    "budget": Verb(
        "list the encoder-decoder shapes that fit a budget of parameters",
        "keyphrase_plm.commands.budget",
        "keyphrase-plm budget --parameters 150000000",
    ),
    "convert": Verb(
        "take over a finished keyphrase model of others, such as KeyBART",
        "keyphrase_plm.commands.convert",
        "keyphrase-plm convert --source taln-ls2n/bart-kp20k --between '<s>' --out bart-kp20k",
    ),
    "export": Verb(
        "write a model as plain transformers folder or ONNX",
        "keyphrase_plm.commands.export",
        "keyphrase-plm export --model runs/keyphrase_plm/train-1/model --out exported",
    ),
    "info": Verb(
        "say what a model, data file or prediction file holds",
        "keyphrase_plm.commands.info",
        "keyphrase-plm info --path runs/keyphrase_plm/train-1/model",
    ),
}


def main() -> int:
    """Run the command line; the result is the exit code."""
    return run_command(PROG, ABOUT, version("keyphrase-plm"), VERBS, presets="keyphrase_plm")


if __name__ == "__main__":
    raise SystemExit(main())
