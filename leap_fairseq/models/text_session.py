"""A text that a language model reads and continues, remembered in a state of constant size.

However long the text, the session holds the sums of each attention and the scores of the next token; it can be saved,
loaded and continued, also on another machine.

Shape legend: N tokens, V vocabulary.
"""

import math
from typing import Any, Dict, List, Optional

import torch
from torch import Tensor

from leap_fairseq.attention.checks import check_tensor, counted
from leap_fairseq.files import whole_file

FORMAT = "leap_fairseq text session 1"
PARTS = ("format", "length", "next", "state")


class TextSession:
    """Reads a text in blocks and continues it, token by token.

    Args:
        model: a ``leap_transformer_lm`` with linear attention; it is put into evaluation mode.
        block: tokens that are computed at once when reading.

    Attributes:
        length: tokens read and written so far.
        next_log_probs: of the next token, float32 [V].

    Raises:
        ValueError: a model whose state would grow (softmax) or whose positions end (learned).
    """

    def __init__(self, model, block: int = 512):
        model.check_carry(model.decoder.args)
        counted("block", block, least=1)
        # Of a model that fairseq has prepared for inference, eval() returns None.
        model.eval()
        self.model, self.block, self.length = model, block, 0
        self._state: Dict[str, Any] = {}
        self.dictionary = model.decoder.dictionary
        self.next_log_probs = self._advance(torch.tensor([self.dictionary.eos()]))[-1]

    def read(self, tokens: Tensor) -> Tensor:
        """Reads on.

        Args:
            tokens: int64 [N], indices of the dictionary.

        Returns:
            float32 [N], the log-probability of each token given all the text before it.

        Raises:
            ValueError: something else, or a number that is none of the dictionary's.
        """
        check_tensor("tokens", tokens, "N", [torch.int64])
        if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < len(self.next_log_probs):
            raise ValueError(f"tokens must lie in [0, {len(self.next_log_probs)}), the numbers of the dictionary")
        scores = [self.next_log_probs.new_zeros(0)]
        for first in range(0, tokens.numel(), self.block):
            part = tokens[first : first + self.block]
            log_probs = self._advance(part)
            given = torch.cat((self.next_log_probs.unsqueeze(0), log_probs[:-1]))
            scores.append(given.gather(1, part.to(given.device).unsqueeze(1)).squeeze(1))
            # A copy, which does not keep those of the whole block.
            self.next_log_probs = log_probs[-1].clone()
            self.length += part.numel()
        return torch.cat(scores)

    def generate(self, count: int, temperature: float = 0.0, generator: Optional[torch.Generator] = None) -> List[int]:
        """Writes on.

        Args:
            count: number of tokens.
            temperature: 0 takes the best token; above 0, tokens are drawn.
            generator: of random numbers, for draws that can be repeated.

        Returns:
            The tokens.

        Raises:
            ValueError: a temperature below 0 or without end, or a count that is no whole number.
        """
        if not 0 <= temperature < math.inf:
            raise ValueError(f"temperature {temperature} must be 0 (the best token) or above (draws)")
        written = []
        for _ in range(counted("count", count)):
            scores = self.next_log_probs.clone()
            scores[self.dictionary.pad()] = -torch.inf
            if temperature == 0:
                token = int(scores.argmax())
            else:
                # A smaller divisor leaves float32's range, and the best token is certain long before.
                probs = (scores / max(temperature, 1e-30)).softmax(0)
                token = int(torch.multinomial(probs.cpu(), 1, generator=generator))
            self.read(torch.tensor([token]))
            written.append(token)
        return written

    def save(self, path: str) -> None:
        """Writes the session to a file, whole or not at all."""
        state = self.model.decoder.export_state(self._state)
        content = dict(zip(PARTS, (FORMAT, self.length, self.next_log_probs, state)))
        with whole_file(path) as file:
            torch.save(content, file)

    @classmethod
    def load(cls, model, path: str, block: int = 512) -> "TextSession":
        """Continues a saved session.

        Args:
            model: the model that it was saved with.
            path: of the file.
            block: as for the constructor.

        Raises:
            FileNotFoundError: no such file.
            ValueError: another kind of file, the session of a model of other sizes, or one that cannot be right.
        """
        session = cls(model, block)
        with open(path, "rb") as file:
            try:
                content = torch.load(file, map_location=session.next_log_probs.device, weights_only=True)
            except Exception as error:
                # What is torn or foreign fails in any way.
                raise ValueError(f"{path} is not a text session: give a file that TextSession.save wrote") from error
        try:
            session._continue(content)
        except ValueError as error:
            raise ValueError(f"{path} cannot be continued: {error}") from error
        return session

    def _continue(self, content: Any) -> None:
        """Takes over what :meth:`save` wrote; all of it is looked at before any of it is used."""
        if not isinstance(content, dict) or content.get("format") != FORMAT or content.keys() != set(PARTS):
            raise ValueError("this is not a text session: give a file that TextSession.save wrote")
        length, scores, state = counted("length", content["length"]), content["next"], content["state"]
        check_tensor("next", scores, "V", [torch.float32], self.next_log_probs.device)
        if scores.shape != self.next_log_probs.shape:
            raise ValueError(
                f"it has a vocabulary of {len(scores)}, the model of {len(self.next_log_probs)}: "
                "load it with the model that it was saved with"
            )
        # Half types leave an error of some hundredths.
        if not abs(float(scores.exp().sum()) - 1) < 0.1:
            raise ValueError("next must be the logarithms of probabilities, which sum to 1")
        imported = self.model.decoder.import_state(state)
        # The end of a sentence, which a text begins with, is not counted in its length.
        counts = {state["tokens"], *(layer[name] for layer in state["attention"] for name in ("keys", "queries"))}
        seen = [state["seen"], *(layer["positions"] for layer in state["attention"])]
        if counts != {length + 1} or len(seen[0]) != 1 or len({int(each) for each in seen}) != 1:
            raise ValueError(f"its layers have read other numbers of tokens than its length {length} says")
        self._state, self.next_log_probs, self.length = imported, scores, length

    @torch.no_grad()
    def _advance(self, tokens: Tensor) -> Tensor:
        """Computes tokens [N] and returns the log-probabilities of what follows each, float32 [N, V]."""
        device = next(self.model.parameters()).device
        out = self.model.decoder.forward_block(tokens.to(device).unsqueeze(0), self._state)
        return self.model.get_normalized_probs(out, log_probs=True)[0].float()
