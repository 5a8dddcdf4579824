"""One listener: messages in, words out. It knows the protocol and nothing of sockets.

Messages and replies are described in :mod:`leap_fairseq.serve.server`.

Shape legend: N samples.
"""

import json
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple, Union

import numpy as np

from leap_fairseq.serve.session_policy import asked_for, described
from leap_fairseq.streaming import StreamingTranslator, Word, write_batch

SAMPLE_RATES = (8000, 192000)
"""Lowest and highest rate of a listener, Hz: from a telephone to a studio."""

MAX_CHANNELS = 32
"""What a browser decodes at most. Source: Web Audio API, the AudioBuffer interface."""

HEADER = '{"sample_rate": 48000, "channels": 1}'
END = '{"end": true}'
LONGEST_TEXT, LONGEST_QUOTE = 500, 60


class ProtocolError(ValueError):
    """A listener sent what is not of the protocol, or reached a limit; its text is sent back."""


def read_pcm(data: bytes, channels: int) -> np.ndarray:
    """Samples of signed 16-bit little-endian integers, channels interleaved.

    Args:
        data: whole samples of all channels.
        channels: how many are interleaved.

    Returns:
        float32 [N, channels] in [-1, 1].

    Raises:
        ProtocolError: the data ends inside of a sample.
    """
    if len(data) % (2 * channels):
        raise ProtocolError(
            f"{len(data)} bytes are no whole samples of {channels} channel(s): send signed 16-bit little-endian "
            f"integers, {2 * channels} bytes a sample"
        )
    return np.frombuffer(data, "<i2").reshape(-1, channels).astype(np.float32) / 32768


class Session:
    """Takes the messages of one listener in their order.

    Args:
        translator: of this listener alone; where the listener asks for another policy, another one over its model.
        max_minutes: of speech.

    Attributes:
        heard_ms: speech received, ms.
        words: how many were written.
        finished: whether the translation is complete; no message may follow.
    """

    def __init__(self, translator: StreamingTranslator, max_minutes: float):
        self.translator, self.max_minutes = translator, max_minutes
        self.heard_ms, self.words, self.finished = 0.0, 0, False
        self._format: Optional[Tuple[int, int]] = None
        self._ended = self._chose = False

    def hear(self, message: Union[str, bytes]) -> bool:
        """Takes the next message, but for the words that it allows.

        Args:
            message: text, or PCM.

        Returns:
            Whether it asks for a reply.

        Raises:
            ProtocolError: the message is not of the protocol, or the speech is too long.
        """
        if isinstance(message, bytes):
            self._hear_sound(message)
            return True
        fields = _parse(message)
        if "end" in fields:
            if fields["end"] is not True:
                raise ProtocolError(f"end is {_quote(json.dumps(fields['end']))}, but can only be true: {END}")
            self.translator.hear_end()
            self._ended = True
            return True
        if self._format is not None:
            raise ProtocolError(f"a second header {_quote(message)}: a session is one recording, open another one")
        self._format = _sound_format(fields)
        if fields.get("policy") is not None:
            self._choose(fields["policy"])
        return self._chose

    def reply(self, words: Iterable[Word]) -> Dict[str, Any]:
        """The reply to the last message.

        Args:
            words: that became known.
        """
        if self._chose:
            self._chose = False
            return described(self.translator.policy)
        if self._ended:
            self.translator.close()
        self.finished = self.translator.finished
        known = [{"text": word.text, "delay": word.delay, "sentence": word.sentence} for word in words]
        self.words += len(known)
        return {"words": known, "heard_ms": self.heard_ms}

    def last_reply(self) -> Dict[str, Any]:
        """The end of a complete translation, and what of the sound it leaves out, where that is much."""
        notice = self.translator.notice()
        return {"finished": True} if notice is None else {"finished": True, "notice": notice}

    def _choose(self, options: Any) -> None:
        try:
            policy = asked_for(self.translator.policy, options)
        except ValueError as error:
            raise ProtocolError(str(error)) from None
        self.translator = self.translator.new_stream(policy)
        self._chose = True

    def _hear_sound(self, data: bytes) -> None:
        if self._format is None:
            raise ProtocolError(f"sound came before the header: send {HEADER} first")
        rate, channels = self._format
        samples = read_pcm(data, channels)
        if self.heard_ms + len(samples) * 1000 / rate > self.max_minutes * 60_000:
            raise ProtocolError(
                f"this session has heard {self.max_minutes:g} minutes of speech, the most it may: open another one "
                "(--max-minutes)"
            )
        self.translator.hear(samples, rate)
        self.heard_ms += len(samples) * 1000 / rate


Result = Union[None, Dict[str, Any], Exception]
"""A reply, none, or what went wrong."""


def take_together(turns: Sequence[Tuple[Session, Union[str, bytes]]]) -> List[Result]:
    """Computes a message of each of several sessions over one model; this may take long.

    Args:
        turns: sessions, each at most once, and the next message of each.

    Returns:
        What comes of each message. One that is not of the protocol fails alone, the model fails for all.
    """
    results: List[Result] = [None] * len(turns)
    asking = []
    for number, (session, message) in enumerate(turns):
        try:
            if session.hear(message):
                asking.append(number)
        except Exception as error:
            results[number] = error
    try:
        words = write_batch([turns[number][0].translator for number in asking])
    except Exception as error:
        words = error
    for place, number in enumerate(asking):
        results[number] = words if isinstance(words, Exception) else turns[number][0].reply(words[place])
    return results


def _parse(message: str) -> Dict[str, Any]:
    if len(message) > LONGEST_TEXT:
        raise ProtocolError(f"text of {len(message)} characters: {HEADER} and {END} are short, sound is sent as bytes")
    try:
        fields = json.loads(message)
    except ValueError:
        raise ProtocolError(f"{_quote(message)} is not JSON: send {HEADER}, sound, and {END}") from None
    if not isinstance(fields, dict) or not {"sample_rate", "end"} & set(fields):
        raise ProtocolError(f"{_quote(message)} is neither the header {HEADER} nor the end {END}")
    return fields


def _sound_format(fields: Dict[str, Any]) -> Tuple[int, int]:
    """Rate in Hz, and number of channels."""
    rate, channels = fields["sample_rate"], fields.get("channels", 1)
    lowest, highest = SAMPLE_RATES
    if type(rate) is not int or not lowest <= rate <= highest:
        raise ProtocolError(
            f"sample_rate is {_quote(json.dumps(rate))}, but must be a whole number of {lowest} to {highest} Hz"
        )
    if type(channels) is not int or not 1 <= channels <= MAX_CHANNELS:
        raise ProtocolError(
            f"channels is {_quote(json.dumps(channels))}, but must be a whole number of 1 to {MAX_CHANNELS}"
        )
    return rate, channels


def _quote(text: str) -> str:
    """What was sent, short enough to be shown."""
    return text if len(text) <= LONGEST_QUOTE else text[:LONGEST_QUOTE] + " ..."
