"""A text session: its scores are those of the whole text, and a saved one goes on as if nothing had happened."""

import pytest
import torch
from tiny_models import make_dictionary, make_lm, spread_proportions
from tolerances import assert_same

from leap_fairseq.models.text_session import TextSession

EOS = 2


def lm(kind="leap", *flags, **options):
    return spread_proportions(make_lm("--decoder-self-attention", kind, "--decoder-layers", "2", *flags, **options))


def text(length, seed=0):
    return torch.randint(4, 20, (length,), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", ["leap", "cosformer", "relu", "elu"])
@pytest.mark.parametrize("block", [1, 7, 512])
def test_scores_are_those_of_the_whole_text(kind, block):
    model, tokens = lm(kind), text(90)
    inputs = torch.cat((torch.tensor([EOS]), tokens))
    expected = torch.log_softmax(model(inputs[None])[0][0], -1)
    session = TextSession(model, block)
    scores = torch.cat([session.read(tokens[:40]), session.read(tokens[40:])])
    assert_same(scores, expected[:-1].gather(1, tokens.unsqueeze(1)).squeeze(1))
    assert_same(session.next_log_probs, expected[-1])
    assert session.length == 90 and session.read(tokens[:0]).numel() == 0


def test_a_model_that_fairseq_has_prepared_for_inference():
    model, tokens = lm(), text(30)
    expected = TextSession(model).read(tokens)
    model.make_generation_fast_()
    assert_same(TextSession(model).read(tokens), expected)


def test_adaptive_softmax():
    flags = ("--adaptive-input", "--adaptive-input-cutoff", "8,12", "--adaptive-softmax-cutoff", "8,12")
    session = TextSession(lm("leap", *flags))
    session.read(text(20))
    assert session.next_log_probs.shape == (20,)
    assert float(session.next_log_probs.exp().sum()) == pytest.approx(1, abs=1e-5)


def test_the_smallest_temperatures_draw_the_best_tokens():
    best = TextSession(lm()).generate(5)
    for temperature in (1e-9, 1e-40, 1e-300):
        assert TextSession(lm()).generate(5, temperature) == best


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_saved_and_loaded_it_writes_the_same(tmp_path, temperature):
    model, path = lm(), str(tmp_path / "session.pt")
    session = TextSession(model)
    session.read(text(50))
    session.save(path)
    expected = session.generate(30, temperature, torch.Generator().manual_seed(5))
    # Another instance of the model stands for another process: the keys of fairseq's states are random.
    loaded = TextSession.load(lm(), path)
    assert loaded.length == 50
    assert loaded.generate(30, temperature, torch.Generator().manual_seed(5)) == expected
    assert [p.name for p in tmp_path.iterdir()] == ["session.pt"]


def test_the_file_does_not_grow_with_the_text(tmp_path):
    session, sizes = TextSession(lm()), []
    for length in (1, 700, 30):
        session.read(text(length))
        session.save(str(tmp_path / "session.pt"))
        sizes.append((tmp_path / "session.pt").stat().st_size)
    assert max(sizes) - min(sizes) < 200


def test_wrong_use_is_named(tmp_path):
    path = str(tmp_path / "session.pt")
    TextSession(lm()).save(path)
    with pytest.raises(ValueError, match="vocabulary of 20, the model of 25"):
        TextSession.load(lm(dictionary=make_dictionary(25)), path)
    with pytest.raises(ValueError, match="state has 2 layers, the model 3"):
        TextSession.load(make_lm("--decoder-layers", "3"), path)
    with pytest.raises(ValueError, match="heads, features and values .*use the model that it was saved with"):
        TextSession.load(lm("relu"), path)
    torch.save({"model": {}}, path)
    with pytest.raises(ValueError, match="is.* not a text session"):
        TextSession.load(lm(), path)
    with pytest.raises(ValueError, match="needs linear attention"):
        TextSession(lm("softmax"))
    with pytest.raises(ValueError, match="temperature -1"):
        TextSession(lm()).generate(1, -1)
