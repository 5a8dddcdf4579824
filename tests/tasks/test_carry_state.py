"""Context without end: blocks with a carried state equal the whole text at once, and every token is scored once."""

from argparse import Namespace

import pytest
import torch
from tiny_models import make_dictionary, make_lm, spread_proportions
from tolerances import assert_same

from leap_fairseq.tasks.carried_text import CarriedText, WholeText
from leap_fairseq.tasks.leap_language_modeling import LeapLanguageModelingTask

PAD, EOS = 1, 2


def text(length, seed=0):
    return torch.randint(4, 20, (length,), generator=torch.Generator().manual_seed(seed))


def lm(kind="leap", *options):
    flags = ("--decoder-self-attention", kind, "--decoder-layers", "2", "--dropout", "0", *options)
    return spread_proportions(make_lm(*flags))


def log_probability(model, batches):
    """Sum over all targets, and how many there were."""
    total, count = 0.0, 0
    for batch in batches:
        logits = model(**batch["net_input"])[0]
        scores = torch.log_softmax(logits, -1).gather(-1, batch["target"].unsqueeze(-1)).squeeze(-1)
        real = batch["target"].ne(PAD)
        total, count = total + float(scores[real].sum()), count + int(real.sum())
    return total, count


@pytest.mark.parametrize("length, streams, block", [(200, 1, 16), (200, 7, 16), (199, 3, 64), (5, 4, 2), (1, 1, 8)])
def test_every_token_is_a_target_once_and_follows_its_own(length, streams, block):
    tokens = torch.arange(4, 4 + length)
    data = CarriedText(tokens, streams, range(streams), block, PAD, EOS)
    rows = [torch.cat([data[i]["target"] for i in range(len(data))], 1)]
    rows = rows[0][rows[0].ne(PAD)]
    assert sorted(rows.tolist()) == tokens.tolist()
    assert sum(data[i]["ntokens"] for i in range(len(data))) == length
    for i in range(len(data)):
        batch = data[i]
        real = batch["target"].ne(PAD)
        before = torch.where(batch["target"] == 4, torch.tensor(EOS), batch["target"] - 1)
        assert torch.equal(batch["net_input"]["src_tokens"][real], before[real])
        assert batch["net_input"]["continues"] == (i > 0)
        assert batch["target"].is_contiguous() and batch["net_input"]["src_tokens"].is_contiguous()


def test_processes_read_disjoint_streams():
    tokens = torch.arange(4, 204)
    parts = [CarriedText(tokens, 4, range(2 * rank, 2 * rank + 2), 16, PAD, EOS) for rank in range(2)]
    assert len(parts[0]) == len(parts[1])
    targets = torch.cat([part[i]["target"].flatten() for part in parts for i in range(len(part))])
    assert sorted(targets[targets.ne(PAD)].tolist()) == tokens.tolist()


@pytest.mark.parametrize(
    "kind, options",
    [
        *((kind, ()) for kind in ("leap", "cosformer", "relu", "elu")),
        ("leap", ("--attention-half-life", "2-64")),
        ("leap", ("--attention-half-life", "2-64", "--no-token-positional-embeddings")),
        ("contrast", ("--attention-half-life", "2-64", "--attention-learned-pace")),
    ],
)
@pytest.mark.parametrize("length, block", [(90, 1), (300, 16), (300, 64), (300, 300)])
def test_blocks_equal_the_whole_text(kind, options, length, block):
    model, tokens = lm(kind, *options), text(length)
    whole = log_probability(model, [{"net_input": {"src_tokens": torch.cat((torch.tensor([EOS]), tokens[:-1]))[None]},
                                     "target": tokens[None]}])  # fmt: skip
    data = CarriedText(tokens, 1, range(1), block, PAD, EOS)
    carried = log_probability(model, (data[i] for i in range(len(data))))
    assert carried[1] == whole[1] == length
    assert carried[0] == pytest.approx(whole[0], rel=1e-4)
    if block == 16:
        # The control: without the carried state the numbers differ.
        alone = log_probability(model, ({**data[i], "net_input": {**data[i]["net_input"], "continues": False}}
                                        for i in range(len(data))))  # fmt: skip
        assert alone[0] != pytest.approx(whole[0], rel=1e-4)


def test_memory_is_constant_and_positions_go_on():
    model = lm()
    table = len(model.decoder.embed_positions.weights)
    sizes = set()
    data = CarriedText(text(2000), 1, range(1), 50, PAD, EOS)
    with torch.no_grad():
        for i in range(len(data)):
            model(**data[i]["net_input"])
            state = model._carried[False]
            sizes.add(sum(x.state.kvz.numel() for x in state.values() if hasattr(x, "state")))
    assert len(sizes) == 1 and len(model.decoder.embed_positions.weights) == table < 2000


def test_training_stops_at_the_border_of_a_block_and_validation_does_not_disturb_it():
    model = lm().train()
    data = CarriedText(text(120), 2, range(2), 20, PAD, EOS)
    gradients = []
    for disturbed in (False, True):
        for i in range(len(data)):
            model.zero_grad()
            model(**data[i]["net_input"])[0].square().mean().backward()
            if disturbed:
                model.eval()
                model(**data[0]["net_input"])
                model.train()
        gradients.append([p.grad.clone() for p in model.parameters()])
    for undisturbed, other in zip(*gradients):
        assert_same(other, undisturbed)


def make_task(**options):
    defaults = {"carry_state": True, "sample_break_mode": "none", "tokens_per_sample": 16, "data": None}
    return LeapLanguageModelingTask.setup_task(Namespace(**{**defaults, **options}))


def test_batches_keep_the_order_and_the_number_of_streams():
    task = make_task()
    task.dictionary = make_dictionary()
    iterator = task.get_batch_iterator(WholeText(text(100)), max_sentences=2)
    for _ in range(2):
        batches = list(iterator.next_epoch_itr(shuffle=True))
        assert [b["net_input"]["continues"] for b in batches] == [False, True, True, True]
        assert sum(b["ntokens"] for b in batches) == 100
    evaluation = list(task.eval_lm_dataloader(WholeText(text(100)), max_tokens=36000, num_shards=1, shard_id=0))
    assert all(len(b["target"]) == 1 for b in evaluation) and sum(b["ntokens"] for b in evaluation) == 100


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda: make_task(sample_break_mode="eos"), "--sample-break-mode eos does not go with --carry-state"),
        (lambda: make_task(add_bos_token=True), "--add-bos-token does not go with --carry-state"),
        (lambda: make_task(tokens_per_sample=0).load_dataset("train"), "--tokens-per-sample .* is 0, but must be 1"),
        (lambda: make_task().get_batch_iterator(WholeText(text(9))), "--carry-state needs --batch-size"),
        (lambda: make_task().eval_lm_dataloader(WholeText(text(9)), context_window=4), "--context-window"),
        (lambda: make_lm().check_carry(Namespace(decoder_self_attention="softmax")), "needs linear attention"),
        (
            lambda: make_lm().check_carry(Namespace(decoder_self_attention="leap", decoder_learned_pos=True)),
            "leave --decoder-learned-pos out",
        ),
    ],
)
def test_what_cannot_be_carried_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()
