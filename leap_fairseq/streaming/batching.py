"""Several translators that share a model, advanced together: one call of the model for the next token of all.

    words = push_together(translators, pieces)      # a list of words for each translator

Each translator writes what it would write alone. Streams may have begun at different times: the states of linear
attention have the same size however much they have read, so that they are put on top of each other as they are. With
softmax attention, or an encoder that reads whole prefixes, the streams are computed one after the other.

Shape legend: B streams, T feature frames, M mel bins.
"""

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Dict, Hashable, List, NamedTuple, Optional, Sequence

import torch
from torch import Tensor

from leap_fairseq.streaming.sentence import Sentence
from leap_fairseq.speech import SAMPLE_RATE

if TYPE_CHECKING:
    from leap_fairseq.streaming.translator import StreamingTranslator, Word


class NextToken(NamedTuple):
    """A token that can be written.

    Attributes:
        sentence: that it belongs to.
        frames: encoder frames that it may see; None for all, where the speech has ended.
        max_len: tokens of the sentence, at most.
    """

    sentence: Sentence
    frames: Optional[int]
    max_len: int


def push_together(
    translators: Sequence["StreamingTranslator"], samples: Sequence[Any], sample_rate: int = SAMPLE_RATE
) -> List[List["Word"]]:
    """Takes the next samples of each of several streams.

    Args:
        translators: over one model; :meth:`StreamingTranslator.another` makes them.
        samples, sample_rate: for each, as for :meth:`StreamingTranslator.push`.

    Returns:
        The words of each that became known.

    Raises:
        ValueError: not as many pieces as translators, several models, or as for :meth:`StreamingTranslator.push`.
    """
    if len(samples) != len(translators):
        raise ValueError(f"{len(samples)} pieces of sound for {len(translators)} translators: give one for each")
    for translator, piece in zip(translators, samples):
        translator.hear(piece, sample_rate)
    return write_all(translators)


def finish_together(translators: Sequence["StreamingTranslator"]) -> List[List["Word"]]:
    """Ends several streams.

    Args:
        translators: over one model.

    Returns:
        All words of each that remain.

    Raises:
        ValueError: several models.
    """
    for translator in translators:
        translator.hear_end()
    words = write_all(translators)
    for translator in translators:
        translator.close()
    return words


def write_all(translators: Sequence["StreamingTranslator"]) -> List[List["Word"]]:
    """Writes all tokens that the policy allows to each of several translators by now.

    Args:
        translators: over one model.

    Returns:
        The words of each that became known.

    Raises:
        ValueError: several models.
    """
    if len({id(translator.model) for translator in translators}) > 1:
        raise ValueError("the translators have several models: only streams of one model are computed together")
    words: List[List[Word]] = [[] for _ in translators]
    while True:
        waiting = [(number, translator.next_token()) for number, translator in enumerate(translators)]
        waiting = [(number, following) for number, following in waiting if following is not None]
        if not waiting:
            return words
        for (number, following), token in zip(waiting, write_tokens([following for _, following in waiting])):
            words[number] += translators[number].written(following, token)


@torch.no_grad()
def write_tokens(tokens: Sequence[NextToken]) -> List[int]:
    """Writes the next token of each of several sentences.

    Args:
        tokens: of one model.

    Returns:
        Their indices in the dictionary.
    """
    if len(tokens) == 1 or not tokens[0].sentence.model.streams_merge:
        scores = [following.sentence.scores(following.frames) for following in tokens]
    else:
        scores = _scores([following.sentence for following in tokens], [following.frames for following in tokens])
    return [following.sentence.choose(row, following.max_len) for following, row in zip(tokens, scores)]


def _scores(sentences: Sequence[Sentence], frames: Sequence[Optional[int]]) -> List[Tensor]:
    """Scores of the next token of each, [vocabulary]; those that need as much of the encoder are computed together."""
    features = [sentence.source.take(count) for sentence, count in zip(sentences, frames)]
    alike: Dict[Hashable, List[int]] = defaultdict(list)
    for number, (sentence, new) in enumerate(zip(sentences, features)):
        source = sentence.source
        held = None if source.state is None else source.state.shape
        alike[None if new is None else (new.shape[1], source.ended, held)].append(number)
    scores: List[Tensor] = [torch.empty(0)] * len(sentences)
    for numbers in alike.values():
        of_group = _scores_alike([sentences[number] for number in numbers], [features[number] for number in numbers])
        for number, row in zip(numbers, of_group):
            scores[number] = row
    return scores


def _scores_alike(sentences: Sequence[Sentence], features: Sequence[Optional[Tensor]]) -> Tensor:
    """Scores [B, vocabulary] of the next tokens; all have features of one length, [1, T, M], or none."""
    model, memories = sentences[0].model, [sentence.memory for sentence in sentences]
    memory = model.decoder.merge_states(memories)
    if features[0] is not None:
        sources = [sentence.source for sentence in sentences]
        state = model.encoder.merge_states([source.state for source in sources])
        new, state = model.encode_segment(torch.cat(list(features)), state, last=sources[0].ended)
        model.decoder.absorb(new, memory)
        for row, (source, held) in enumerate(zip(sources, model.encoder.split_state(state, len(sources)))):
            source.shown(new[:, row : row + 1], held)
    tokens = torch.cat([sentence.last_token() for sentence in sentences])
    scores = model.decoder.forward_block(tokens, memory)[0][:, -1]
    model.decoder.split_state(memory, memories)
    return scores
