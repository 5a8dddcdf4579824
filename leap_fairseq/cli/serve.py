"""Serves a live page: it takes the microphone or a file, and shows the words of the translation as they come.

    leap-fairseq serve
    leap-fairseq serve --model my_translator

The model is a folder of leap-fairseq export, or a checkpoint with --data-bin; without any, the small one that comes
with leap-fairseq, of travel phrases from English to German. The page is for this machine alone, unless --host says
otherwise; from another machine, browsers give the microphone to https pages only.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from dataclasses import fields
from typing import TYPE_CHECKING

from leap_fairseq.cli.translate import add_translator_options, load, take_example
from leap_fairseq.example import LANGUAGE, RECORDING

if TYPE_CHECKING:
    from leap_fairseq.serve.server import Server

LOG_LEVEL = logging.WARNING


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    add_translator_options(parser)
    text = "language of the translations, for browsers that speak or hyphenate them: de, zh-CN, ..."
    parser.add_argument("--tgt-lang", default="", metavar="LANG", help=text)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: this machine alone)")
    text = "further name by which browsers may ask for the page, as through a proxy; may be given again"
    parser.add_argument("--allow-host", action="append", default=[], metavar="NAME", help=text)
    parser.add_argument("--port", type=int, default=8642, help="0 for any that is free (default: 8642)")
    parser.add_argument("--max-sessions", type=int, default=8, metavar="N", help="listeners at once")
    text = "of a piece of sound (default: 1 MiB)"
    parser.add_argument("--max-message-bytes", type=int, default=1 << 20, metavar="N", help=text)
    parser.add_argument("--max-minutes", type=float, default=60, metavar="M", help="of a session")
    parser.add_argument("--idle-seconds", type=float, default=30, metavar="S", help="without a message, then it ends")
    text = "at once that are not sessions; beyond it, the oldest is closed"
    parser.add_argument("--max-connections", type=int, default=256, metavar="N", help=text)
    text = "to ask for something, then a connection is closed"
    parser.add_argument("--header-seconds", type=float, default=10, metavar="S", help=text)
    parser.add_argument("--workers", type=int, metavar="N", help="threads that compute (default: one a core)")


def run(options: argparse.Namespace) -> None:
    """Serves until Ctrl-C.

    Raises:
        argparse.ArgumentTypeError: no model is given, but a part of one.
    """
    from leap_fairseq.serve.hosts import AllowedHosts
    from leap_fairseq.serve.server import Server
    from leap_fairseq.serve.websocket import Limits

    logging.getLogger("leap_fairseq.serve").setLevel(logging.INFO)
    limits = Limits(**{field.name: getattr(options, field.name) for field in fields(Limits) if field.name in options})
    hosts = AllowedHosts(options.host, options.allow_host)
    language, example = options.tgt_lang, None
    if options.model is None:
        take_example(options)
        language, example = language or LANGUAGE, RECORDING
    with contextlib.suppress(KeyboardInterrupt):
        server = Server(load(options), limits, number_of_workers(options), hosts, language, example)
        asyncio.run(serve(server, options.host, options.port))
        # Python would wait for the threads that compute, and then take all apart that was imported: for seconds, and
        # nothing is left to be saved.
        logging.shutdown()
        os._exit(0)


def number_of_workers(options: argparse.Namespace) -> int:
    """Threads that compute; the cores that they leave go to the sums within one of them."""
    import torch

    cores = os.cpu_count() or 1
    workers = min(cores, options.max_sessions) if options.workers is None else options.workers
    torch.set_num_threads(max(1, cores // max(1, workers)))
    return workers


async def serve(server: "Server", host: str, port: int) -> None:
    """Listens until Ctrl-C, or until the system ends it.

    Raises:
        OSError, OverflowError: the address cannot be bound.
    """
    async with server.listening(host, port) as free_port:
        end = _end()
        name = f"[{host}]" if ":" in host else host
        sys.stdout.write(f"http://{name}:{free_port}/  (Ctrl-C ends)\n")
        sys.stdout.flush()
        await end.wait()


def _end() -> asyncio.Event:
    """What Ctrl-C or the system sets."""
    end = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, end.set)
    return end
