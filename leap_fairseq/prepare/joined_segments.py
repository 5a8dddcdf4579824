"""Training examples of several sentences: consecutive segments of a recording, with the pauses between them.

A model for speech without end must learn to close a sentence before the sound stops, and to
begin one behind the last. So an example begins where the segment before it ended, has 1 to N sentences, and says with
`NEXT_SENTENCE` that one is over and another follows.
"""

from dataclasses import replace
from itertools import accumulate, groupby
from typing import Iterator, List, Tuple

from leap_fairseq.prepare.choices import Choices
from leap_fairseq.speech import NEXT_SENTENCE, DataError
from leap_fairseq.speech.corpus import Segment, by_file

MAX_PAUSE = 3.0
"""Seconds; a longer one is no pause between two sentences, but applause or another scene."""

SEED = 1


def join_segments(segments: List[Segment], most: int) -> List[Segment]:
    """Makes an example that begins at each segment.

    Args:
        segments: Of the training split.
        most: Sentences of an example, at most; each number is as likely as the others where so many follow.

    Returns:
        The examples, with ids such as talk_3+2 (two sentences from talk_3 on). A segment without a translation or
        transcript, or with a fault, is in none, and no example reaches across it, across a pause of more than 3 s or
        an overlap.

    Raises:
        DataError: `most` is below 1.
    """
    if most < 1:
        raise DataError(f"--join-segments is {most}, but must be 1 or more sentences")
    choices = Choices(SEED)
    joined = []
    faults = list(accumulate(bool(segment.fault) for segment in segments))
    for _, indices in by_file(segments):
        for run in _runs([(segments[index], faults[index]) for index in indices]):
            for first, (_, pause) in enumerate(run):
                parts = [segment for segment, _ in run[first : first + choices.pick(range(1, most + 1))]]
                joined.append(_join(parts, pause))
    return joined


def _runs(of_file: List[Tuple[Segment, int]]) -> Iterator[List[Tuple[Segment, float]]]:
    """Stretches of one recording that may be joined: its segments, each with the pause before it in seconds.

    Args:
        of_file: The segments by offset, each with the number of faulty ones before it.
    """
    end, number, marked, faults = 0.0, 0, [], 0
    for segment, faults_before in of_file:
        usable = segment.duration is not None and segment.src_text.strip() and segment.tgt_text.strip()
        pause = segment.offset - end
        if not usable or not 0 <= pause <= MAX_PAUSE or faults_before > faults:
            number += 1
        if usable:
            # At the head of a stretch there may be applause, or a sentence that is left out.
            marked.append((number, segment, min(max(pause, 0.0), MAX_PAUSE)))
        end, faults = max(end, segment.offset + (segment.duration or 0.0)), faults_before
    for _, stretch in groupby(marked, key=lambda entry: entry[0]):
        yield [(segment, pause) for _, segment, pause in stretch]


def _join(parts: List[Segment], pause: float) -> Segment:
    first, last = parts[0], parts[-1]
    offset = first.offset - pause
    return replace(
        first,
        id=f"{first.id}+{len(parts)}",
        offset=offset,
        duration=last.offset + last.duration - offset,
        src_text=f"{NEXT_SENTENCE} ".join(part.src_text.strip() for part in parts),
        tgt_text=f"{NEXT_SENTENCE} ".join(part.tgt_text.strip() for part in parts),
    )
