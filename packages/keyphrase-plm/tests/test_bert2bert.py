"""Encoder-decoders of two BERTs: halves, depths, the shift of labels, generate as an oracle."""

import pytest
import torch
from torch.nn import functional as F

from keyphrase_plm.bert2bert import Bert2Bert
from keyphrase_plm.bert2bert_options import Bert2BertOptions
from keyphrase_plm.bert_halves import kept_layers
from keyphrase_plm.decoding_options import DecodeOptions
from keyphrase_plm.documents import Document
from keyphrase_plm.sequences import source_text, target_text
from keyphrase_plm.small_models import new_bert
from keyphrase_plm.vocabulary import train_vocabulary
from nonet.errors import UserError

DOCUMENTS = [
    Document("a", "Graph colouring", "a survey of graphs", ("graph colouring", "graphs"), ("np hard",)),
    Document("b", "", "sensor networks aggregate data over many hops", ("sensor networks",)),
    Document("c", "Routing", "energy aware routing in many networks", ("energy aware routing",), ("hops",)),
]
LENGTHS = {"max_source": 64, "max_target": 32, "max_output": 32}


@pytest.fixture(scope="module")
def tokenizer():
    texts = [source_text(each) + " " + target_text(each) for each in DOCUMENTS]
    return train_vocabulary(texts * 3, 300, kind="wordpiece")


def shaken(model, seed=2, size=0.25):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * size)
    return model.eval()


@pytest.fixture(scope="module")
def family(tokenizer):
    built = Bert2Bert.from_shapes(
        tokenizer, encoder_layers=3, decoder_layers=2, width=32, heads=2, positions=64, **LENGTHS
    )
    shaken(built.model)
    return built.eval()


@pytest.fixture(scope="module")
def folders(tokenizer, tmp_path_factory):
    """Two encoder-only models of four layers, one wider than the other."""
    places = []
    for name, width in (("narrow", 32), ("wide", 48)):
        model = new_bert(
            len(tokenizer), pad=tokenizer.pad_token_id, layers=4, width=width, heads=2, positions=64
        )
        shaken(model, seed=width, size=0.1)
        place = tmp_path_factory.mktemp(name)
        model.save_pretrained(place)
        tokenizer.save_pretrained(place)
        places.append((str(place), model))
    return places


def batch_of(family, gold=True):
    return family.collate([family.encode(each, gold=gold) for each in DOCUMENTS])


def rows_of(family):
    return [family.encode(each, gold=False) for each in DOCUMENTS]


def test_the_loss_is_a_shift_by_hand_and_a_cross_entropy(family):
    batch = batch_of(family)
    total, count = family(batch)
    labels = batch["labels"]
    inputs = torch.full_like(labels, family.tokenizer.cls_token_id)
    inputs[:, 1:] = labels[:, :-1].masked_fill(labels[:, :-1] == -100, family.tokenizer.pad_token_id)
    logits = family.model(
        input_ids=batch["source"], attention_mask=batch["mask"], decoder_input_ids=inputs
    ).logits
    expected = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert count.item() == (labels != -100).sum().item()


@pytest.mark.filterwarnings("ignore::FutureWarning")  # transformers tells of the change that this test guards
def test_the_loss_is_that_of_transformers_given_labels_alone(family):
    batch = batch_of(family)
    total, count = family(batch)
    theirs = family.model(
        input_ids=batch["source"], attention_mask=batch["mask"], labels=batch["labels"]
    ).loss
    assert (total / count).item() == pytest.approx(theirs.item(), rel=1e-5)


def test_labels_do_not_begin_with_cls_and_end_with_sep(family):
    row = family.encode(DOCUMENTS[0])
    assert row["target"][0] != family.tokenizer.cls_token_id
    assert row["target"][-1] == family.tokenizer.sep_token_id
    assert family.tokenizer.decode(row["target"][:-1]) == "graph colouring ; graphs ; np hard"


def test_the_model_cannot_see_the_label_it_is_to_predict(family):
    """The trap of the released code under a new transformers: labels as decoder inputs, unshifted."""
    batch = batch_of(family)
    encoded = family.encoded(batch["source"], batch["mask"])
    changed = batch["labels"].clone()
    changed[:, 2] = (changed[:, 2] + 1) % 100 + 5
    one, other = (family.decode(encoded, batch["mask"], labels) for labels in (batch["labels"], changed))
    torch.testing.assert_close(one[:, :3], other[:, :3])
    assert (one[:, 3] - other[:, 3]).abs().max() > 1e-3


def test_greedy_writes_the_tokens_of_generate(family):
    batch = batch_of(family, gold=False)
    theirs = family.model.generate(
        input_ids=batch["source"],
        attention_mask=batch["mask"],
        num_beams=1,
        do_sample=False,
        max_new_tokens=25,
    )[:, 1:]
    ours = family.write(rows_of(family), DecodeOptions(max_length=25), keys="abc").tokens[:, 0]
    assert ours[:, : theirs.shape[1]].tolist() == theirs.tolist()
    assert len({tuple(line) for line in ours.tolist()}) > 1


def test_phrases_do_not_depend_on_the_batch(family):
    options = DecodeOptions(mode="sample", samples=3, top_k=20, max_length=16)
    rows = rows_of(family)
    together = family.predict(DOCUMENTS, rows, options)
    for place in range(3):
        alone = family.predict([DOCUMENTS[place]], [rows[place]], options)[0]
        assert alone.phrases == together[place].phrases
        assert alone.scores == pytest.approx(together[place].scores, abs=1e-4)


def test_layers_that_stay_are_the_first_or_evenly_spaced():
    assert kept_layers(12, 4, "first") == [0, 1, 2, 3]
    assert kept_layers(12, 4, "even") == [0, 4, 7, 11]
    assert kept_layers(12, 8, "even") == [0, 2, 3, 5, 6, 8, 9, 11]
    assert kept_layers(5, 5, "even") == [0, 1, 2, 3, 4]
    assert kept_layers(7, 1, "even") == [0]


@pytest.mark.parametrize("keep", ["first", "even"])
def test_halves_of_folders_have_the_layers_that_were_chosen(folders, keep):
    (place, model), _ = folders
    options = Bert2BertOptions(encoder_layers=3, decoder_layers=2, keep_layers=keep, **LENGTHS)
    made = Bert2Bert.create(place, options)
    chosen = {"first": ([0, 1, 2], [0, 1]), "even": ([0, 2, 3], [0, 3])}[keep]
    assert (made.built["encoder_layers"], made.built["decoder_layers"]) == chosen
    stacks = made.model.encoder.encoder.layer, made.model.decoder.bert.encoder.layer
    for stack, places in zip(stacks, chosen, strict=True):
        assert len(stack) == len(places)
        for layer, old in zip(stack, places, strict=True):
            theirs = model.bert.encoder.layer[old].state_dict()
            for name, weight in theirs.items():
                assert torch.equal(layer.state_dict()[name], weight), name
    head, old_head = made.model.decoder.cls.state_dict(), model.cls.state_dict()
    assert all(torch.equal(head[name], old_head[name]) for name in head)
    decoder = made.model.decoder
    assert decoder.get_output_embeddings().weight is decoder.get_input_embeddings().weight
    assert decoder.get_input_embeddings().weight is not made.model.encoder.get_input_embeddings().weight


def test_a_decoder_cut_short_still_generates_as_transformers_does(folders):
    (narrow, _), (wide, _) = folders
    options = Bert2BertOptions(
        decoder=wide, encoder_layers=2, decoder_layers=2, keep_layers="even", **LENGTHS
    )
    made = Bert2Bert.create(narrow, options)
    shaken(made.model)
    batch = batch_of(made, gold=False)
    theirs = made.model.generate(
        input_ids=batch["source"],
        attention_mask=batch["mask"],
        num_beams=1,
        do_sample=False,
        max_new_tokens=20,
    )[:, 1:]
    ours = made.write(rows_of(made), DecodeOptions(max_length=20), keys="abc").tokens[:, 0]
    assert ours[:, : theirs.shape[1]].tolist() == theirs.tolist()


def test_random_halves_share_nothing_with_the_folder_and_the_cross_attention_follows_the_seed(folders):
    (place, model), _ = folders

    def make(**options):
        return Bert2Bert.create(
            place, Bert2BertOptions(encoder_layers=2, decoder_layers=2, **LENGTHS, **options)
        ).model

    def query(made):
        return made.decoder.bert.encoder.layer[0].crossattention.self.query.weight

    def first(stack):
        return stack.layer[0].attention.self.query.weight

    warm, again, other = make(), make(), make(seed=1)
    assert torch.equal(query(warm), query(again))
    assert not torch.equal(query(warm), query(other))
    old = first(model.bert.encoder)
    cold = make(random_encoder=True)
    assert not torch.equal(first(cold.encoder.encoder), old)
    assert torch.equal(first(cold.decoder.bert.encoder), old)
    cold = make(random_decoder=True)
    assert torch.equal(first(cold.encoder.encoder), old)
    assert not torch.equal(first(cold.decoder.bert.encoder), old)


@pytest.mark.parametrize("share", [False, True])
def test_a_saved_folder_gives_the_same_phrases_and_keeps_what_it_was_built_of(folders, share, tmp_path):
    (place, _), _ = folders
    options = Bert2BertOptions(encoder_layers=2, decoder_layers=1, share=share, **LENGTHS)
    made = Bert2Bert.create(place, options)
    shaken(made.model)
    made.save(tmp_path / "model")
    again = Bert2Bert.load(tmp_path / "model").eval()
    decode = DecodeOptions(max_length=20)
    assert again.predict(DOCUMENTS, rows_of(made), decode) == made.predict(DOCUMENTS, rows_of(made), decode)
    assert again.built == made.built
    for each in (made, again):
        tables = [half.get_input_embeddings().weight for half in (each.model.encoder, each.model.decoder)]
        assert (tables[0] is tables[1]) is share


def test_a_shared_table_gets_the_gradients_of_both_halves_and_the_pooler_none(tokenizer):
    made = Bert2Bert.from_shapes(
        tokenizer, encoder_layers=1, decoder_layers=1, width=32, heads=2, positions=64, shared=True, **LENGTHS
    )
    total, _ = made(batch_of(made))
    total.backward()
    unused = [
        name for name, weight in made.named_parameters() if weight.requires_grad and weight.grad is None
    ]
    assert unused == []
    assert not any(weight.requires_grad for weight in made.model.encoder.pooler.parameters())


def test_start_end_and_padding_stand_in_both_configs(family):
    for config in (family.model.config, family.model.generation_config):
        assert (config.decoder_start_token_id, config.eos_token_id, config.pad_token_id) == (2, 3, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder_layers": 8}, "has 4 layers, 8 are asked for"),
        (
            {"encoder_layers": 2, "decoder_layers": 2, "max_source": 512},
            "512 pieces are beyond the 64 positions",
        ),
        ({"encoder_layers": 2, "decoder_layers": 2, "share": True, "decoder": "wide"}, "cannot share them"),
    ],
)
def test_halves_that_do_not_fit_are_refused(folders, options, message):
    (narrow, _), (wide, _) = folders
    if options.get("decoder"):
        options = options | {"decoder": wide}
    with pytest.raises(UserError, match=message):
        Bert2Bert.create(narrow, Bert2BertOptions(**(LENGTHS | options)))


def test_a_model_of_one_layer_gives_halves_whatever_its_head(tokenizer, tmp_path):
    model = new_bert(len(tokenizer), pad=tokenizer.pad_token_id, layers=1, width=32, heads=2, positions=64)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    made = Bert2Bert.create(str(tmp_path), Bert2BertOptions(encoder_layers=1, decoder_layers=1, **LENGTHS))
    theirs = model.bert.embeddings.word_embeddings.weight
    assert torch.equal(made.model.encoder.embeddings.word_embeddings.weight, theirs)


def test_a_decoder_without_an_output_layer_is_refused_by_name(tokenizer, tmp_path):
    model = new_bert(len(tokenizer), pad=tokenizer.pad_token_id, layers=1, width=32, heads=2, positions=64)
    model.bert.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    options = {"encoder_layers": 1, "decoder_layers": 1, **LENGTHS}
    with pytest.raises(UserError, match=r"cls\.predictions.* missing"):
        Bert2Bert.create(str(tmp_path), Bert2BertOptions(**options))
    Bert2Bert.create(str(tmp_path), Bert2BertOptions(**options, random_decoder=True))


def test_two_robertas_whose_positions_begin_behind_the_padding_write_what_generate_writes(tmp_path):
    from transformers import RobertaConfig, RobertaForMaskedLM

    texts = [source_text(each) + " " + target_text(each) for each in DOCUMENTS]
    tokenizer = train_vocabulary(texts * 3, 320, kind="bpe")
    tokenizer.add_special_tokens({"cls_token": "<s>", "sep_token": "</s>"})
    config = RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=66, type_vocab_size=1, bos_token_id=0, eos_token_id=2,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    torch.manual_seed(0)
    RobertaForMaskedLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    made = Bert2Bert.create(str(tmp_path), Bert2BertOptions(encoder_layers=2, decoder_layers=2, **LENGTHS))
    shaken(made.model, size=0.1)
    with torch.no_grad():  # positions weigh most, so that every place has another piece
        table = made.model.decoder.base_model.embeddings.position_embeddings.weight
        table.copy_(torch.randn(table.shape, generator=torch.Generator().manual_seed(1)))
    batch = batch_of(made, gold=False)
    theirs = made.model.generate(
        input_ids=batch["source"], attention_mask=batch["mask"], num_beams=1, do_sample=False,
        max_new_tokens=20,
    )[:, 1:]  # fmt: skip
    ours = made.write(rows_of(made), DecodeOptions(max_length=20), keys="abc").tokens[:, 0]
    assert ours[:, : theirs.shape[1]].tolist() == theirs.tolist()
    assert len({*ours.flatten().tolist()}) > 3
