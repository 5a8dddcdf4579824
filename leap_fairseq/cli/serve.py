"""Serves a live page: it takes the microphone or a file, and shows the words of the translation as they come.

    python -m leap_fairseq.serve --model my_translator

The model is a folder of scripts/simulst/export.py, or a checkpoint with --data. The page is for this machine alone,
unless --host says otherwise; from another machine, browsers give the microphone to https pages only.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import pickle
import signal
import sys
from typing import List, Optional

import torch

from leap_fairseq.cli.translate import add_translator_options, load


def parse_arguments(given: Optional[List[str]] = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m leap_fairseq.serve", description=__doc__.split("\n\n")[0])
    add_translator_options(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: this machine alone)")
    parser.add_argument("--port", type=int, default=8642, help="0 for any that is free (default: 8642)")
    parser.add_argument("--max-sessions", type=int, default=8, metavar="N", help="listeners at once (default: 8)")
    parser.add_argument(
        "--max-message-bytes", type=int, default=1 << 20, metavar="N", help="of a piece of sound (default: 1 MiB)"
    )
    parser.add_argument("--max-minutes", type=float, default=60, metavar="M", help="of a session (default: 60)")
    parser.add_argument(
        "--idle-seconds", type=float, default=30, metavar="S", help="without a message, then it ends (default: 30)"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="threads that compute (default: one a core)")
    return parser.parse_args(given)


def number_of_workers(options: argparse.Namespace) -> int:
    """Threads that compute; the cores that they leave go to the sums within one of them."""
    cores = os.cpu_count() or 1
    workers = min(cores, options.max_sessions) if options.workers is None else options.workers
    torch.set_num_threads(max(1, cores // max(1, workers)))
    return workers


async def serve(server, host: str, port: int) -> None:
    """Listens until Ctrl-C, or until the system ends it.

    Args:
        server: a :class:`leap_fairseq.serve.server.Server`.
        host: address to bind.
        port: 0 for any that is free.

    Raises:
        OSError: the address cannot be bound.
    """
    from aiohttp import web

    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=5)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        name = f"[{host}]" if ":" in host else host
        sys.stdout.write(f"http://{name}:{runner.addresses[0][1]}/  (Ctrl-C ends)\n")
        sys.stdout.flush()
        await _interrupt()
    finally:
        await runner.cleanup()


async def _interrupt() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows raises KeyboardInterrupt instead
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


def main() -> int:
    """Runs the command line; returns the exit code."""
    options = parse_arguments()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s: %(message)s")
    logging.getLogger("leap_fairseq.serve").setLevel(logging.INFO)
    try:
        from leap_fairseq.serve.websocket import Limits
        from leap_fairseq.serve.server import Server

        names = ("max_sessions", "max_message_bytes", "max_minutes", "idle_seconds")
        limits = Limits(**{name: getattr(options, name) for name in names})
        server = Server(load(options), limits, number_of_workers(options))
        asyncio.run(serve(server, options.host, options.port))
    except KeyboardInterrupt:
        return 0
    except (ImportError, OSError, OverflowError, ValueError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
