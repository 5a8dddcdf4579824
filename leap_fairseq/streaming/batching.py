"""Decoding, for any number of streams over one model: one call of the model for the next token of all.

    words = push_batch(streams, pieces)      # a list of words for each stream

Each stream writes what it would write alone. Streams may have begun at different times: the states of linear attention
have the same size however much they have read, so that they are put on top of each other as they are; softmax
cross-attention reads the frames of each stream by themselves. With softmax self-attention, or an encoder that reads
whole prefixes, the streams are computed one after the other.

Shape legend: B streams, T feature frames, M mel bins.
"""

from collections import defaultdict
from typing import Any, Dict, Hashable, List, Optional, Sequence

import torch
from torch import Tensor

from leap_fairseq.speech.audio import SAMPLE_RATE
from leap_fairseq.streaming.policy import Candidate
from leap_fairseq.streaming.stream import Stream
from leap_fairseq.streaming.tokens import NextToken, Word


def push_batch(streams: Sequence[Stream], samples: Sequence[Any], sample_rate: int = SAMPLE_RATE) -> List[List[Word]]:
    """Takes the next samples of each of several streams.

    Args:
        streams: over one model; :meth:`StreamingTranslator.new_stream` makes them.
        samples, sample_rate: for each, as for :meth:`StreamingTranslator.push`.

    Returns:
        The words of each that became known.

    Raises:
        ValueError: not as many pieces as streams, several models, or as for :meth:`StreamingTranslator.push`.
    """
    if len(samples) != len(streams):
        raise ValueError(f"{len(samples)} pieces of sound for {len(streams)} streams: give one for each")
    for stream, piece in zip(streams, samples):
        stream.hear(piece, sample_rate)
    return write_batch(streams)


def finish_batch(streams: Sequence[Stream]) -> List[List[Word]]:
    """Ends several streams.

    Args:
        streams: over one model.

    Returns:
        All words of each that remain.

    Raises:
        ValueError: several models.
    """
    for stream in streams:
        stream.hear_end()
    words = write_batch(streams)
    for stream in streams:
        stream.close()
    return words


def write_batch(streams: Sequence[Stream]) -> List[List[Word]]:
    """Writes all tokens that the policies allow to each of several streams by now.

    Args:
        streams: over one model.

    Returns:
        The words of each that became known.

    Raises:
        ValueError: several models.
    """
    if len({id(stream.model) for stream in streams}) > 1:
        raise ValueError("the streams have several models: only streams of one model are computed together")
    words: List[List[Word]] = [[] for _ in streams]
    going: Sequence[int] = range(len(streams))
    while True:
        # A stream that must hear more is not asked again: in long form it looks for pauses each time.
        asked = [(number, streams[number].next_token()) for number in going]
        waiting = [(number, following) for number, following in asked if following is not None]
        if not waiting:
            return words
        candidates = next_candidates([following for _, following in waiting])
        for (number, following), candidate in zip(waiting, candidates):
            words[number] += streams[number].take(following, candidate)
        going = [number for number, _ in waiting]


@torch.no_grad()
def next_candidates(tokens: Sequence[NextToken]) -> List[Candidate]:
    """The next token of each of several sentences, as the model would write it.

    Args:
        tokens: of one model.
    """
    sentences = [following.sentence for following in tokens]
    features = [following.sentence.source.take(following.frames) for following in tokens]
    alike: Dict[Hashable, List[int]] = defaultdict(list)
    for number, (following, sentence, new) in enumerate(zip(tokens, sentences, features)):
        need = None if new is None else (new.shape[1], sentence.source.ended, sentence.source.shape)
        # Only streams whose states can be put together share a call; what was read before is known of one alone.
        alike[need if sentence.model.streams_merge and not following.attended else number].append(number)
    candidates: Dict[int, Candidate] = {}
    for numbers in alike.values():
        group = [tokens[number] for number in numbers]
        candidates.update(zip(numbers, _candidates_alike(group, [features[number] for number in numbers])))
    return [candidates[number] for number in range(len(tokens))]


def _candidates_alike(tokens: Sequence[NextToken], features: Sequence[Optional[Tensor]]) -> List[Candidate]:
    """The next tokens; all have features of one length, [1, T, M], or none."""
    sentences, attended = [following.sentence for following in tokens], tokens[0].attended
    decoder, memories = sentences[0].model.decoder, [sentence.memory for sentence in sentences]
    memory = decoder.merge_states(memories)
    if features[0] is not None:
        if attended:
            decoder.mark_source(memory)
        sources = [sentence.source for sentence in sentences]
        sources[0].show(sources, features, memory)
    if any(following.draft for following in tokens):
        decoder.split_state(memory, memories)
        for following in tokens:
            if following.draft:
                following.sentence.remember()
    last = torch.tensor([[sentence.last_token()] for sentence in sentences], device=next(decoder.parameters()).device)
    scores, extra = decoder.forward_block(last, memory, need_attn=attended)
    decoder.split_state(memory, memories)
    newest = float(extra["attn"][0][0, -1, 1]) if attended else None
    pairs = zip(tokens, scores[:, -1].cpu())  # at once: a GPU is waited for once, not for each stream
    return [each.sentence.choose(row, each.max_len, each.draft, newest) for each, row in pairs]
