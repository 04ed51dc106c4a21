"""An encoder-decoder learns the made-up corpus: present phrases from the text, and the absent one."""

import numpy as np
import pytest
import torch

from keyphrase_plm.bert2bert import Bert2Bert
from keyphrase_plm.decoding_options import DecodeOptions
from keyphrase_plm.desel import select
from keyphrase_plm.predicting import predict
from keyphrase_plm.select_options import SelectOptions
from keyphrase_plm.sequences import source_text, target_text
from keyphrase_plm.toy import corpus
from keyphrase_plm.vocabulary import train_vocabulary

TRAIN, TEST = corpus(300, 0), corpus(30, 1)


def trained(family, steps, rate=3e-3, batch=16):
    torch.manual_seed(0)
    rows = [family.encode(each) for each in TRAIN]
    random = np.random.default_rng(0)
    optimizer = torch.optim.AdamW(family.parameters(), lr=rate)
    family.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 20) * (1 - step / steps)
        picked = [family.example(rows[k], random) for k in random.integers(len(rows), size=batch)]
        total, count = family(family.collate(picked))
        optimizer.zero_grad()
        (total / count).backward()
        optimizer.step()
    return family.eval()


def hits(predictions):
    """Shares of gold phrases found and of predicted ones that are gold."""
    gold = [{*each.present, *each.absent} for each in TEST]
    found = [set(each) for each in predictions]
    right = sum(len(a & b) for a, b in zip(gold, found, strict=True))
    return right / sum(map(len, gold)), right / max(1, sum(map(len, found)))


@pytest.mark.slow
def test_two_berts_learn_the_rule_and_a_scorer_prefers_true_phrases():
    texts = [source_text(each) + " ; " + target_text(each) for each in TRAIN]
    tokenizer = train_vocabulary(texts, 400, kind="wordpiece")
    family = trained(Bert2Bert.tiny(tokenizer, seed=0, layers=1, width=64), 220)
    written = [each.phrases for each in predict(family, TEST, DecodeOptions(max_length=40))]
    recall, precision = hits(written)
    assert recall > 0.7
    assert precision > 0.7
    scorer = trained(Bert2Bert.tiny(tokenizer, seed=1, layers=1, width=64, targets="one2one"), 150)
    for document in TEST[:10]:
        values = scorer.phrase_log_likelihood(document, [document.present[0], "research heavy"])
        assert values[0] > values[1] + 1
    chosen = [each.prediction.phrases for each in select(family, scorer, TEST, SelectOptions(samples=4))]
    assert all(phrases[: len(greedy)] == greedy for phrases, greedy in zip(chosen, written, strict=True))
    assert hits(chosen)[0] >= recall
