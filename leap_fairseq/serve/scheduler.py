"""Who computes when: a free worker takes all messages that wait, one of a session at most, and computes them together.

With few listeners, each is answered at once; with many, their streams share the calls of the model.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List, NamedTuple, Optional, Set, Union

from leap_fairseq.serve.session import Session, take_together


class Turn(NamedTuple):
    """A message that waits.

    Attributes:
        session: whose it is.
        message: text, or PCM.
        reply: what comes of it.
    """

    session: Session
    message: Union[str, bytes]
    reply: "asyncio.Future[Optional[Dict[str, Any]]]"


class Scheduler:
    """Gives the messages of all sessions to a few threads.

    Args:
        workers: threads that compute.
    """

    def __init__(self, workers: int):
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="translate")
        self._free = workers
        self._waiting: List[Turn] = []
        self._computing: Set[asyncio.Task[None]] = set()

    async def take(self, session: Session, message: Union[str, bytes]) -> Optional[Dict[str, Any]]:
        """Computes the next message of a session, of which no other may wait.

        Args:
            session: that takes it.
            message: text, or PCM.

        Returns:
            The reply, or None where there is none.

        Raises:
            ProtocolError: as for :meth:`Session.hear`.
        """
        turn = Turn(session, message, asyncio.get_running_loop().create_future())
        self._waiting.append(turn)
        self._start()
        return await turn.reply

    def stop(self) -> None:
        """Computes nothing more."""
        self._pool.shutdown(wait=False)

    def _start(self) -> None:
        # Who has gone waits no longer.
        turns, self._waiting = [turn for turn in self._waiting if not turn.reply.done()], []
        if not turns or not self._free:
            self._waiting = turns
            return
        self._free -= 1
        task = asyncio.get_running_loop().create_task(self._compute(turns))
        self._computing.add(task)
        task.add_done_callback(self._computing.discard)

    async def _compute(self, turns: List[Turn]) -> None:
        pairs = [(turn.session, turn.message) for turn in turns]
        try:
            results = await asyncio.get_running_loop().run_in_executor(self._pool, take_together, pairs)
        except Exception as error:
            results = [error] * len(turns)
        self._free += 1
        for turn, result in zip(turns, results):
            if turn.reply.done():
                continue
            if isinstance(result, Exception):
                turn.reply.set_exception(result)
            else:
                turn.reply.set_result(result)
        self._start()
