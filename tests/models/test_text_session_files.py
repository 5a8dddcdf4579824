"""Files of text sessions that are torn, foreign or tampered with: refused whole, whatever part is wrong."""

import copy
import math
import random

import pytest
import torch
from tiny_models import make_lm, spread_proportions

from leap_fairseq.models.text_session import TextSession

OBJECTS = [None, -1, 7, 2**40, 2**70, 1.5, math.nan, "3", b"", [], {}, [{}], [None], (3, 3), torch.tensor([3.0])]
TENSORS = {
    "int8": lambda x: x.to(torch.int8),
    "half": lambda x: x.half(),
    "double": lambda x: x.double(),
    "other integers": lambda x: x.to(torch.int32),
    "complex": lambda x: x.to(torch.complex64),
    "no rows": lambda x: x[:0].clone(),
    "two rows": lambda x: torch.cat((x, x)),
    "a shorter end": lambda x: x[..., :-1].clone(),
    "a dimension more": lambda x: x[None],
    "one number": lambda x: x.flatten()[0].clone(),
    "sparse": lambda x: x.to_sparse(),
    "nan": lambda x: x * math.nan,
    "inf": lambda x: x.float() + math.inf,
    "below": lambda x: x - 200 if x.dim() < 2 else x - math.inf,
    "above": lambda x: x + 200 if x.dim() < 2 else x + math.inf,
}


@pytest.fixture(scope="module")
def model():
    return spread_proportions(make_lm("--decoder-layers", "2"))


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    """A file as it should be."""
    path = tmp_path_factory.mktemp("session") / "right.pt"
    session = TextSession(model)
    session.read(torch.arange(5, 15))
    session.save(str(path))
    return path


def places(content, place=()):
    """The keys that lead to each part of a content, also of those that hold others."""
    yield place
    for key, part in content.items() if isinstance(content, dict) else enumerate(content):
        yield from places(part, (*place, key)) if isinstance(part, (dict, list)) else [(*place, key)]


def replaced(content, place, change):
    """A copy with something else in one place."""
    if not place:
        return change(content)
    content = copy.deepcopy(content)
    part = content
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = change(part[place[-1]])
    return content


def wrong_contents(content):
    """Each part replaced by each wrong thing, and dictionaries and lists with a part more or less."""
    for place in places(content):
        part = content
        for key in place:
            part = part[key]
        for other in OBJECTS:
            if type(part) is not type(other) or isinstance(part, torch.Tensor) or part != other:
                yield (*place, repr(other)), replaced(content, place, lambda _, other=other: other)
        if isinstance(part, torch.Tensor):
            for name, change in TENSORS.items():
                yield (*place, name), replaced(content, place, change)
        elif isinstance(part, dict):
            yield (*place, "more"), replaced(content, place, lambda part: {**part, "more": 0})
            for key in part:
                less = {other: part[other] for other in part if other != key}
                yield (*place, f"without {key}"), replaced(content, place, lambda _, less=less: less)
        elif isinstance(part, list):
            yield (*place, "more"), replaced(content, place, lambda part: [*part, part[0]])
            yield (*place, "less"), replaced(content, place, lambda part: part[1:])


def test_every_part_is_looked_at(model, saved, tmp_path):
    tried, accepted = 0, []
    for what, content in wrong_contents(torch.load(saved, weights_only=True)):
        path = tmp_path / "wrong.pt"
        torch.save(content, path)
        tried += 1
        try:
            TextSession.load(model, str(path))
            accepted.append(what)
        except ValueError as error:
            assert str(path) in str(error), what
    assert tried > 300 and not accepted


def test_the_control_that_what_is_not_looked_at_is_accepted(model, saved, tmp_path, monkeypatch):
    content = torch.load(saved, weights_only=True)
    content["state"]["attention"][1]["kvz"].fill_(math.nan)
    torch.save(content, tmp_path / "wrong.pt")
    with pytest.raises(ValueError, match="must be finite"):
        TextSession.load(model, str(tmp_path / "wrong.pt"))
    monkeypatch.setattr("leap_fairseq.attention.LinearAttentionState.__post_init__", lambda self: None)
    assert TextSession.load(model, str(tmp_path / "wrong.pt")).next_log_probs.isfinite().all()


def test_how_tensors_lie_in_memory_does_not_matter(model, saved, tmp_path):
    expected = TextSession.load(model, str(saved)).generate(20)
    content = torch.load(saved, weights_only=True)
    for layer in content["state"]["attention"]:
        layer["kvz"] = layer["kvz"].transpose(1, 3).contiguous().transpose(1, 3)
        assert not layer["kvz"].is_contiguous()
    content["next"] = torch.stack((content["next"], content["next"]), -1)[:, 0]
    torch.save(content, tmp_path / "turned.pt")
    assert TextSession.load(model, str(tmp_path / "turned.pt")).generate(20) == expected


def test_torn_and_flipped_files(model, saved, tmp_path):
    whole, path, draw = saved.read_bytes(), tmp_path / "torn.pt", random.Random(0)
    torn = [whole[: draw.randrange(len(whole))] for _ in range(12)] + [b"", b"\x80", b"text", whole[::-1]]
    for each in torn:
        path.write_bytes(each)
        with pytest.raises(ValueError, match="is not a text session"):
            TextSession.load(model, str(path))
    for _ in range(40):
        flipped = bytearray(whole)
        flipped[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        try:
            # What is one digit of a number may still be right.
            TextSession.load(model, str(path)).generate(2)
        except ValueError as error:
            assert str(path) in str(error)
    with pytest.raises(FileNotFoundError):
        TextSession.load(model, str(tmp_path / "none.pt"))


@pytest.mark.parametrize(
    "tokens",
    [torch.tensor([20]), torch.tensor([-1]), torch.tensor([[5]]), torch.tensor([5.0]), [5], torch.tensor(5)],
    ids=str,
)
def test_tokens_are_those_of_the_dictionary(model, tokens):
    session = TextSession(model)
    before = session.next_log_probs.clone()
    with pytest.raises(ValueError, match="tokens must"):
        session.read(tokens)
    assert session.length == 0 and torch.equal(session.next_log_probs, before)


def test_wrong_numbers(model):
    for arguments in ((-1,), (1.5,), (1, math.nan), (1, math.inf)):
        with pytest.raises(ValueError, match="count|temperature"):
            TextSession(model).generate(*arguments)
    with pytest.raises(ValueError, match="block"):
        TextSession(model, block=0)
