"""What tests of models start from: an untrained Llama of two layers with a byte-level tokenizer."""

import pytest

TYPES = 400


@pytest.fixture(scope="session")
def tiny_tokenizer():
    """A byte-level BPE tokenizer of 400 types, learnt from made-up notes; it has pad, bos and eos."""
    from double_i.small_models import train_tokenizer
    from double_i.toy import notes

    return train_tokenizer(notes(200, seed=7), TYPES, positions=512)


@pytest.fixture(scope="session")
def tiny_model(tiny_tokenizer):
    """A function that gives the untrained model anew: hidden 32, 2 layers, tied embeddings."""
    from double_i.small_models import Shape, new_model

    def make(seed=0, tied=True):
        return new_model(Shape(32, 2, 2, 64, positions=512, tied=tied), tiny_tokenizer, seed)

    return make


@pytest.fixture(scope="session")
def tiny_lm(tmp_path_factory, tiny_model, tiny_tokenizer):
    """The folder of that model and its tokenizer."""
    from double_i.small_models import save

    return save(
        tiny_model(), tiny_tokenizer, tmp_path_factory.mktemp("models") / "tiny-lm", "Untrained, for tests."
    )
