"""A family small enough to see through: each word is a keyphrase or not, by one number a word."""

import json
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import nn

from keyphrase_plm.documents import Document, Prediction
from keyphrase_plm.families import Family

BUCKETS = 512


class WordFamily(Family):
    """Scores words; in training it does not see a tenth of them, another tenth in each epoch."""

    name = "tag"

    def __init__(self):
        super().__init__()
        self.model, self.tokenizer = nn.Embedding(BUCKETS, 1), None
        nn.init.zeros_(self.model.weight)
        self.batches = []

    def encode(self, document, *, gold=True):
        words = f"{document.title} {document.body}".split()
        ids = np.array([zlib.crc32(word.encode()) % BUCKETS for word in words], np.int32)
        labels = np.array([word in document.present if gold else False for word in words], np.int32)
        return {"ids": ids, "labels": labels, "words": words, "size": (len(ids), len(ids)), "cut": 0}

    def example(self, row, random):
        return {
            "ids": row["ids"],
            "labels": np.where(random.random(len(row["ids"])) < 0.1, -1, row["labels"]),
        }

    def collate(self, rows):
        length = max(len(row["ids"]) for row in rows)
        ids, labels = np.zeros((len(rows), length), np.int64), np.full((len(rows), length), -1, np.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row["ids"])], labels[i, : len(row["ids"])] = row["ids"], row["labels"]
        return {"ids_BL": torch.from_numpy(ids), "labels_BL": torch.from_numpy(labels)}

    def forward(self, batch):
        wanted = batch["labels_BL"] >= 0
        logits = self.model(batch["ids_BL"])[..., 0][wanted]
        total = nn.functional.binary_cross_entropy_with_logits(
            logits, batch["labels_BL"][wanted].float(), reduction="sum"
        )
        return total, wanted.sum()

    def predict(self, documents, rows, options):
        self.batches.append([document.id for document in documents])
        found = []
        for document, row in zip(documents, rows, strict=True):
            scores = self.model(torch.from_numpy(row["ids"]).long())[:, 0].tolist()
            pairs = {w: s for w, s in zip(row["words"], scores, strict=True) if s > 0}
            found.append(Prediction(document.id, tuple(pairs), tuple(pairs.values())))
        return found

    def save(self, folder):
        torch.save(self.model.state_dict(), Path(folder) / "words.pt")
        (Path(folder) / "keyphrase.json").write_text(json.dumps({"family": "tag", "version": 1}))

    @classmethod
    def load(cls, folder):
        family = cls()
        family.model.load_state_dict(torch.load(Path(folder) / "words.pt", weights_only=True))
        return family.eval()


KEYS = [f"key{i}" for i in range(12)]
OTHERS = [f"word{i}" for i in range(40)]


def documents(count, seed=0):
    """Documents of 5 to 30 words; those whose names begin with `key` are their present phrases."""
    found = []
    for i in range(count):
        draw = np.random.default_rng([seed, i])
        words = draw.choice(KEYS + OTHERS, int(draw.integers(5, 31))).tolist()
        keys = tuple(dict.fromkeys(word for word in words if word in KEYS))
        found.append(Document(f"d{i}", words[0], " ".join(words[1:]), keys, (), f"made-up:{i + 1}"))
    return found
