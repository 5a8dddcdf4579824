"""The schedule of wait-k that trains, with one k or a range of which every batch draws one.

It and the policies that stream (:mod:`leap_fairseq.streaming.policies`) ask
:func:`leap_fairseq.attention.waitk_requirement`, where wait-k is defined.
"""

import re
from typing import Tuple

import torch
from torch import Tensor

from leap_fairseq.attention import waitk_requirement, waitk_visibility
from leap_fairseq.streaming.policies import WaitkPolicy


class WaitkSchedule:
    """Target i sees ``(i + k) * r`` encoder frames; a visibility schedule with a current k.

    Args:
        lagging: k, a number or a range as for :func:`parse_lagging`.
        ratio: r, encoder frames of one pre-decision.

    Attributes:
        lagging: the current k.

    Raises:
        ValueError: lagging or ratio is not a number of at least 1.

    Source:
        Ma et al., STACL, ACL 2019; one model for all k: Elbayad, Besacier, Verbeek, Interspeech 2020.
    """

    def __init__(self, lagging: str, ratio: int):
        self.low, self.high = parse_lagging(lagging)
        waitk_requirement(0, self.low, ratio)
        self.ratio = ratio
        self.lagging = self.high

    @property
    def policy(self) -> WaitkPolicy:
        """The policy that streams what this trains, with the k in the middle of the range, or the lower of two."""
        return WaitkPolicy.of_training(self.low, self.high, self.ratio)

    def draw(self) -> int:
        """Makes a k of the range current, drawn by torch's generator, which fairseq seeds at every update."""
        if self.low < self.high:
            self.lagging = int(torch.randint(self.low, self.high + 1, ()))
        return self.lagging

    def set(self, lagging: int) -> None:
        """Makes a k current, inside of the range or not.

        Raises:
            ValueError: lagging is below 1.
        """
        waitk_requirement(0, lagging, self.ratio)
        self.lagging = lagging

    def __call__(self, num_queries: int, num_keys: int, first_query: int = 0) -> Tensor:
        """Visible frames of each target; see :func:`leap_fairseq.attention.waitk_visibility`."""
        return waitk_visibility(num_queries, num_keys, first_query, lagging=self.lagging, ratio=self.ratio)


def parse_lagging(text: str, flag: str = "--waitk-lagging") -> Tuple[int, int]:
    """Reads ``--waitk-lagging``.

    Args:
        text: "3", or a range such as "1-7".
        flag: what the option is called, for messages.

    Returns:
        The lowest and the highest k.

    Raises:
        ValueError: not of that form, below 1, or a range that runs backwards.
    """
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", str(text).strip())
    low, high = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= low <= high:
        raise ValueError(
            f"{flag} {text!r} must be a number of at least 1 such as 3, or a range such as 1-7 "
            "of which every batch draws one"
        )
    return low, high
