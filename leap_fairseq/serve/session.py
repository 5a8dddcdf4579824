"""One listener: messages in, words out. It knows the protocol and nothing of sockets.

Messages and replies are described in :mod:`leap_fairseq.serve.server`.

Shape legend: N samples.
"""

import json
from typing import Any, Dict, Iterable, Optional, Tuple, Union

import numpy as np

from leap_fairseq.simul import StreamingTranslator, Word

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
        translator: of this listener alone.
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

    def take(self, message: Union[str, bytes]) -> Optional[Dict[str, Any]]:
        """Takes the next message and computes what it brings; this may take long.

        Args:
            message: text, or PCM.

        Returns:
            The reply, or None where there is none.

        Raises:
            ProtocolError: the message is not of the protocol, or the speech is too long.
        """
        if isinstance(message, bytes):
            return self._hear(message)
        fields = _parse(message)
        if "end" in fields:
            if fields["end"] is not True:
                raise ProtocolError(f"end is {_quote(json.dumps(fields['end']))}, but can only be true: {END}")
            words = self.translator.finish()
            self.finished = True
            return self._reply(words)
        if self._format is not None:
            raise ProtocolError(f"a second header {_quote(message)}: a session is one recording, open another one")
        self._format = _sound_format(fields)
        return None

    def _hear(self, data: bytes) -> Dict[str, Any]:
        if self._format is None:
            raise ProtocolError(f"sound came before the header: send {HEADER} first")
        rate, channels = self._format
        samples = read_pcm(data, channels)
        if self.heard_ms + len(samples) * 1000 / rate > self.max_minutes * 60_000:
            raise ProtocolError(
                f"this session has heard {self.max_minutes:g} minutes of speech, the most it may: open another one "
                "(--max-minutes)"
            )
        words = self.translator.push(samples, rate)
        self.heard_ms += len(samples) * 1000 / rate
        self.finished = self.translator.finished
        return self._reply(words)

    def _reply(self, words: Iterable[Word]) -> Dict[str, Any]:
        described = [{"text": word.text, "delay": word.delay, "sentence": word.sentence} for word in words]
        self.words += len(described)
        return {"words": described, "heard_ms": self.heard_ms}


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
