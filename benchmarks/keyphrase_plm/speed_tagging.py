"""`make bench-keyphrase-plm`: documents a second, from text to phrases, by YAKE and by a tagger.

- YAKE: ours against the authors' program, both from its tokens; every candidate has the same score.
- A tagger against the authors' program, which people take because it needs no model. The answers are other
  ones (the tagger's weights are random here, which costs the same time as trained ones), so that only the
  cost is compared; what is checked is that a tagger's answers do not depend on its batches.

One core; the papers with keywords, tokenised.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.data import data_folder
from benchmarks.harness import Row, save, table, versus
from benchmarks.keyphrase_plm.experiment import papers

from keyphrase_plm.documents import Document
from nonet.errors import needs

SHAPES = {"4 layers x 128": (4, 128, 2), "6 layers x 384 (MiniLM)": (6, 384, 12)}
PIECES = 512


def yake_rows(documents: list[Document], tiny: bool) -> Row:
    """Scores of all candidates by both programs."""
    from keyphrase_plm.yake import yake_phrases

    core = needs("yake.data", to="compare with it", install="keyphrase-plm[peers]").DataCore
    read = needs("yake.data.utils", to="compare with it", install="keyphrase-plm[peers]")
    stops = (
        needs("yake", to="compare with it", install="keyphrase-plm[peers]").KeywordExtractor().stopword_set
    )
    texts = [f"{each.title}.\n{each.body}" for each in documents]

    def ours() -> list[dict[str, float]]:
        tokens = [read.tokenize_sentences(read.pre_filter(text)) for text in texts]
        return [{each.text: each.score for each in yake_phrases(one, stops)} for one in tokens]

    def peer() -> list[dict[str, float]]:
        found = []
        for text in texts:
            data = core(text=text, stopword_set=stops, config={"windows_size": 1, "n": 3})
            data.build_single_terms_features()
            data.build_mult_terms_features()
            found.append({each.unique_kw: each.h for each in data.candidates.values() if each.is_valid()})
        return found

    def same(mine: list[dict[str, float]], theirs: list[dict[str, float]]) -> bool:
        return all(
            list(a) == list(b) and all(abs(a[key] - b[key]) <= 1e-9 * max(1, abs(b[key])) for key in a)
            for a, b in zip(mine, theirs, strict=True)
        )

    return _versus("YAKE's scores, against yake", ours, peer, same, len(documents), tiny)


def tagger_rows(documents: list[Document], shape: str, tokenizer: Any, tiny: bool) -> Row:
    """Phrases of a tagger with random weights, and of the authors' YAKE."""
    from keyphrase_plm.decoding_options import DecodeOptions
    from keyphrase_plm.predicting import predict
    from keyphrase_plm.tagger import Tagger

    layers, width, heads = SHAPES[shape]
    family = Tagger.tiny(tokenizer, layers=layers, width=width, heads=heads, positions=PIECES)
    kind = needs("yake", to="compare with it", install="keyphrase-plm[peers]").KeywordExtractor
    texts = [f"{each.title}.\n{each.body}" for each in documents]

    def ours(batch_tokens: int = 8192) -> list[tuple[str, ...]]:
        return [each.phrases for each in predict(family, documents, DecodeOptions(batch_tokens=batch_tokens))]

    def peer() -> list[list[str]]:
        extractor = kind(top=5)  # a new one, for it remembers how alike the phrases of earlier rounds are
        return [[phrase for phrase, _ in extractor.extract_keywords(text)] for text in texts]

    def same(mine: list[tuple[str, ...]], theirs: list[list[str]]) -> bool | str:
        if len(mine) != len(theirs):
            return f"{len(mine)} against {len(theirs)} documents"
        return mine == ours(1) or "the tagger's phrases depend on its batches"

    return _versus(f"tagger of {shape}, against yake (other phrases)", ours, peer, same, len(documents), tiny)


def _versus(
    name: str, ours: Callable[[], Any], peer: Callable[[], Any], same: Callable, documents: int, tiny: bool
) -> Row:
    timed = partial(versus, name, ours, peer, same, unit="documents", per_call=documents)
    return timed(rounds=1, min_seconds=0) if tiny else timed(rounds=7)


def main(tiny: bool = False) -> list[Row]:
    """All rows; kept in benchmarks/results unless they are tiny."""
    from keyphrase_plm.vocabulary import train_vocabulary
    from nonet.testing import one_thread

    if data_folder("papers") is None:
        print("speed_tagging: skipped, the real data (NONET_DATA) is not here")
        return []
    _, documents = papers(0, 3 if tiny else 50)
    texts = [f"{each.title} {each.body}" for each in documents]
    tokenizer = train_vocabulary(texts, 300 if tiny else 8000, kind="wordpiece")
    with one_thread():
        rows = [yake_rows(documents, tiny)]
        rows += [tagger_rows(documents, shape, tokenizer, tiny) for shape in list(SHAPES)[: 1 if tiny else 2]]
    print(table(rows))
    if not tiny:
        save("keyphrase-plm", rows, versions=("torch", "transformers", "yake"), data="50 papers", seed=0)
    return rows


if __name__ == "__main__":
    main()
