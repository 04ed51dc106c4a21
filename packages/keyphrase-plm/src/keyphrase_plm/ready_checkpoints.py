"""Other people's finished keyphrase models as folders of ours, so that they predict without training (ours).

BARTs and T5s that write `phrase; phrase; ...` (KeyBART, Kulkarni et al. 2022, is one) differ in what stands
between title and body, `[sep]` or `<s>` say, and in front of the source; these are options. Token classifiers
differ in the order and names of their three labels, which are put in ours.
"""

from typing import Any

from keyphrase_plm.seq2seq import Seq2Seq, load_parts
from keyphrase_plm.tagger import Tagger
from keyphrase_plm.tags import LABELS
from keyphrase_plm.tokenizers import load_tokenizer
from nonet.errors import UserError
from nonet.training.hub import load_pretrained


def writer(name: str, *, between: str, prefix: str, max_source: int | None, max_target: int) -> Seq2Seq:
    """A BART or T5 that writes phrases with semicolons between them.

    Args:
        name: folder or hub name.
        between: stands between title and body of the source.
        prefix: stands in front of the source.
        max_source: longest source in pieces; None: the model's positions, 1024 where it has no limit.
        max_target: longest output in pieces.

    Raises:
        UserError: there is no such model, it is of another kind or has fewer positions.
    """
    model, tokenizer = load_parts(name)
    limit = getattr(model.config, "max_position_embeddings", None) or 1024
    return Seq2Seq(
        model,
        tokenizer,
        prefix=prefix,
        between=between,
        max_source=max_source or limit,
        max_target=max_target,
    ).eval()


def tagger(name: str, *, max_words: int = 510) -> Tagger:
    """A token classifier whose three labels begin with O, B and I, in any order.

    Raises:
        UserError: there is no such model, or its labels are others.
    """
    import torch
    from transformers import AutoConfig, AutoModelForTokenClassification

    from nonet.training.hub import local_or_hub

    try:
        config = AutoConfig.from_pretrained(local_or_hub(name))
    except (OSError, ValueError) as error:
        raise UserError(f"{name}: no config to be read: {' '.join(str(error).split())[:200]}") from error
    order = label_order(name, config.id2label)
    model: Any = load_pretrained(AutoModelForTokenClassification, name)
    head = getattr(model, "classifier", None)
    if not isinstance(head, torch.nn.Linear):
        raise UserError(f"{name}: its classifier is no single layer, so its labels cannot be put in order")
    with torch.no_grad():
        for weight in (head.weight, head.bias):
            weight.copy_(weight[order].clone())
    model.config.id2label = dict(enumerate(LABELS))
    model.config.label2id = {label: at for at, label in enumerate(LABELS)}
    return Tagger(model, load_tokenizer(name, words=True), max_words=max_words).eval()


def label_order(name: str, labels: dict[int, str]) -> list[int]:
    """Which of a checkpoint's labels is O, which B and which I.

    `label_order("m", {0: "B-KEY", 1: "I-KEY", 2: "O"})` is `[2, 0, 1]`.

    Raises:
        UserError: there are not three of them, one of each.
    """
    firsts = [str(labels[at])[:1].upper() for at in sorted(labels)]
    if sorted(firsts) != sorted(LABELS):
        shown = ", ".join(str(labels[at]) for at in sorted(labels))
        raise UserError(f"{name}: the labels are {shown}; a tagger of keyphrases has one each of B, I and O")
    return [firsts.index(label) for label in LABELS]
