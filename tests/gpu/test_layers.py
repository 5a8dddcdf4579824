"""Layers and models on a GPU: token by token equals all at once, streams together equal streams alone."""

import pytest
import torch
from fairseq.data import Dictionary
from random_translator import TEXTS, noise, translator
from tiny_models import make_lm, spread_proportions
from tolerances import assert_same

from leap_fairseq.attention import KINDS, causal_visibility
from leap_fairseq.layers import LinearAttention
from leap_fairseq.speech import train_vocabulary
from leap_fairseq.streaming import finish_batch, push_batch

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("half_life", [None, "2-64"])
@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.linear])
def test_a_layer_in_pieces_equals_at_once(device, kind, half_life, dtype):
    torch.manual_seed(0)
    sizes = {"max_query_positions": 100, "max_key_positions": 100}
    layer = LinearAttention(64, 4, kind=kind, schedule=causal_visibility, half_life=half_life, **sizes).eval()
    x = torch.randn(3, 90, 64)
    with torch.no_grad():
        expected = layer(x)[0]
        layer, x = layer.to(device, dtype), x.to(device, dtype)
        assert_same(layer(x)[0].float().cpu(), expected, dtype)
        for sizes in ([1] * 90, [70, 1, 1, 18]):
            state, outs = layer.zero_state(3), []
            for piece in x.split(sizes, dim=1):
                out, state = layer(piece, state=state)
                outs.append(out)
            assert_same(torch.cat(outs, dim=1).float().cpu(), expected, dtype)


@pytest.mark.parametrize("attention", list(KINDS))
def test_a_language_model_in_blocks_equals_the_cpu(device, attention):
    model = spread_proportions(make_lm("--decoder-self-attention", attention))
    tokens = torch.randint(4, 20, (2, 60), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, state = model(tokens)[0], {}
        model.to(device)
        outs = [model.decoder.forward_block(block, state)[0] for block in tokens.to(device).split([40, 1, 19], dim=1)]
        assert_same(torch.cat(outs, dim=1).cpu(), expected, torch.float32)
        assert_same(model(tokens.to(device))[0].cpu(), expected, torch.float32)


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("spm") / "spm"
    train_vocabulary(TEXTS, str(prefix), 60, "unigram")
    return Dictionary.load(f"{prefix}.txt"), f"{prefix}.model"


@pytest.mark.parametrize("visibility", ["segment", "full"])
def test_streams_write_what_they_write_on_the_cpu(vocabulary, device, visibility):
    """Alone and together, though they begin at different times."""
    first = translator(vocabulary, lagging=2, ratio=4, visibility=visibility, endless=True)
    sounds = [noise(2000 - 300 * number, seed=number) for number in range(4)]
    expected = [together(first, [sound])[0] for sound in sounds]
    first.to(device)
    assert all(expected) and [together(first, [sound])[0] for sound in sounds] == expected
    assert together(first, sounds) == expected


def together(translator, sounds, tick=4000):
    """Words of streams that begin one tick after the other."""
    streams, words = [translator.new_stream() for _ in sounds], [[] for _ in sounds]

    def note(numbers, of_each):
        for number, new in zip(numbers, of_each):
            words[number] += [(word.text, word.delay) for word in new]

    for now in range(40):
        heard = {n: sound[(now - n) * tick :] for n, sound in enumerate(sounds[: now + 1])}
        going = [n for n, rest in heard.items() if len(rest)]
        note(going, push_batch([streams[n] for n in going], [heard[n][:tick] for n in going]))
        over = [n for n in heard if n not in going and not streams[n].finished]
        note(over, finish_batch([streams[n] for n in over]))
    return words
