"""fairseq configures the root logger when it is imported; a library must leave that to the program."""

import contextlib
import logging
from typing import Iterator


@contextlib.contextmanager
def unchanged_root_logger() -> Iterator[None]:
    """Keeps the level and the handlers of the root logger.

    fairseq 0.12.2 calls ``logging.basicConfig(level=DEBUG)`` in ``models/wav2vec/wav2vec2_classification.py``, which
    ``import fairseq`` reaches: the program's own ``basicConfig`` then does nothing, and every library logs its details.
    """
    level, handlers = logging.root.level, list(logging.root.handlers)
    # basicConfig leaves a logger alone that has a handler already.
    logging.root.addHandler(logging.NullHandler())
    try:
        yield
    finally:
        logging.root.setLevel(level)
        logging.root.handlers[:] = handlers
