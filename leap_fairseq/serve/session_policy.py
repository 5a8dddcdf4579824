"""The policy of one session: what a listener may ask for, by the names and the rules that command lines have for it.

Nothing here knows a particular option: all are those of the table in :mod:`leap_fairseq.streaming.policy`.
"""

from typing import Any, Dict, List

from leap_fairseq.streaming.frames import FRAME_MS
from leap_fairseq.streaming.policy import OPTIONS, Policy, read_options


def described(policy: Policy) -> Dict[str, Any]:
    """A policy for listeners: its name with its options, and the speech between two decisions in ms."""
    return {"policy": str(policy), "decision_ms": policy.decision_frames * FRAME_MS}


def offered() -> List[Dict[str, Any]]:
    """The options that a session may set, for a form: name, help, a letter for the value, and the choices or None."""
    return [
        {
            "name": name,
            "help": settings["help"],
            "metavar": settings.get("metavar", ""),
            "choices": list(settings["choices"]) if "choices" in settings else None,
        }
        for name, settings in OPTIONS.items()
    ]


def asked_for(policy: Policy, asked: Any) -> Policy:
    """A policy with the options that a listener asks for.

    Args:
        policy: of the server.
        asked: what JSON made of the options: by name a number, a text, or None for one that stays as it is.

    Raises:
        ValueError: no options by name, one that there is not, or a value that cannot be; or the policy has no such
            option.
    """
    if not isinstance(asked, dict):
        raise ValueError('policy must be its options by name, such as {"waitk_lagging": 5}')
    return policy.configured(**read_options(asked, "of the session"))
