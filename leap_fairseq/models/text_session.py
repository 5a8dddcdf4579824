"""A text that a language model reads and continues, remembered in a state of constant size.

However long the text, the session holds the sums of each attention and the scores of the next token; it can be saved,
loaded and continued, also on another machine.

Shape legend: N tokens, V vocabulary.
"""

from typing import Any, Dict, List, Optional

import torch
from torch import Tensor

from leap_fairseq.files import whole_file

FORMAT = "leap_fairseq text session 1"


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
        """
        scores = [self.next_log_probs.new_zeros(0)]
        for first in range(0, tokens.numel(), self.block):
            part = tokens[first : first + self.block]
            log_probs = self._advance(part)
            given = torch.cat((self.next_log_probs.unsqueeze(0), log_probs[:-1]))
            scores.append(given.gather(1, part.to(given.device).unsqueeze(1)).squeeze(1))
            self.next_log_probs = log_probs[-1]
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
            ValueError: a temperature below 0.
        """
        if temperature < 0:
            raise ValueError(f"temperature {temperature} must be 0 (the best token) or above (draws)")
        written = []
        for _ in range(count):
            scores = self.next_log_probs.clone()
            scores[self.dictionary.pad()] = -torch.inf
            if temperature == 0:
                token = int(scores.argmax())
            else:
                token = int(torch.multinomial((scores / temperature).softmax(0).cpu(), 1, generator=generator))
            self.read(torch.tensor([token]))
            written.append(token)
        return written

    def save(self, path: str) -> None:
        """Writes the session to a file, whole or not at all."""
        content = {
            "format": FORMAT,
            "length": self.length,
            "next": self.next_log_probs,
            "state": self.model.decoder.export_state(self._state),
        }
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
            ValueError: another kind of file, or the session of a model of other sizes.
        """
        session = cls(model, block)
        content = torch.load(path, map_location=session.next_log_probs.device)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"{path} is not a text session: give a file that TextSession.save wrote")
        if content["next"].shape != session.next_log_probs.shape:
            raise ValueError(
                f"{path} has a vocabulary of {content['next'].numel()}, the model of {len(session.next_log_probs)}: "
                "load it with the model that it was saved with"
            )
        session._state = model.decoder.import_state(content["state"])
        session.next_log_probs, session.length = content["next"], content["length"]
        return session

    @torch.no_grad()
    def _advance(self, tokens: Tensor) -> Tensor:
        """Computes tokens [N] and returns the log-probabilities of what follows each, float32 [N, V]."""
        device = next(self.model.parameters()).device
        out = self.model.decoder.forward_block(tokens.to(device).unsqueeze(0), self._state)
        return self.model.get_normalized_probs(out, log_probs=True)[0].float()
