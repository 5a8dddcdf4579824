"""The page that is served, and the command that serves it."""

import asyncio
import io
import re
import signal
import sys

import pytest
import soundfile
import torch

aiohttp = pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'leap-fairseq[serve]'")

from live_client import HEADER, Client, give, joined, pieces, replies, served, words_of  # noqa: E402

from leap_fairseq.cli import command, serve  # noqa: E402
from leap_fairseq.example import MODEL  # noqa: E402
from leap_fairseq.models import load_translator  # noqa: E402
from leap_fairseq.serve.hosts import AllowedHosts  # noqa: E402
from leap_fairseq.serve.server import PAGE, Server  # noqa: E402
from leap_fairseq.serve.websocket import Limits  # noqa: E402


def test_the_page_has_all_it_needs(translator):
    async def scenario(client):
        found = {}
        names = ["/", "/stream", "/example", "/page/../server.py"]
        for name in names + [f"/page/{path.name}" for path in PAGE.iterdir()]:
            async with client.http.get(client.address + name) as answer:
                found[name] = answer.status, answer.headers, await answer.text()
        return found

    found = served(translator, scenario)
    wanted = {f"/{name}" for name in re.findall(r'(?:href|src)="(.*?)"', found["/"][2])}
    for name, (_, _, text) in found.items():
        folder = name.rpartition("/")[0]
        wanted |= {f"{folder}/{module}" for module in re.findall(r'from "\./(.*?)"', text)}
        wanted |= {f"/{module}" for module in re.findall(r'addModule\("(.*?)"', text)}
        assert not re.search(r"(https?:)?//\w+\.\w", text.replace("http://www.w3.org/2000/svg", "")), name
    assert len(wanted) == 9 and wanted | {"/", "/page/index.html"} == {n for n in found if found[n][0] == 200}
    assert found["/stream"][0] == 400 and found["/page/../server.py"][0] == found["/example"][0] == 404
    assert found["/"][1]["Content-Security-Policy"].startswith("default-src 'self'")
    assert found["/page/page.js"][1]["Content-Type"].startswith(("application/javascript", "text/javascript"))


def test_it_listens_on_this_machine_alone_until_ctrl_c(translator, capsys):
    options = command.command_parser(serve).parse_args(["--model", "x"])
    assert (options.host, options.port) == ("127.0.0.1", 8642)

    async def scenario():
        server = Server(translator, Limits(), 1, AllowedHosts(options.host))
        running = asyncio.create_task(serve.serve(server, options.host, 0))
        line = ""
        while not line:
            await asyncio.sleep(0.01)
            line = capsys.readouterr().out
        async with aiohttp.ClientSession() as http:
            client = Client(http, line.split("/  ")[0], server)
            async with client.open() as connection:
                await give(connection, HEADER)
                signal.raise_signal(signal.SIGINT)
                received = await replies(connection)
            await running
        return line, received

    line, received = asyncio.run(scenario())
    assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d+/  \(Ctrl-C ends\)\n", line)
    assert received == [{"error": "the server is stopping: open another session later"}]


@pytest.mark.parametrize(
    "options, reason",
    [
        (["--model", "missing"], "no checkpoint at missing"),
        (["--model", "missing", "--max-sessions", "0"], "max_sessions is 0, but must be above 0 (--max-sessions)"),
    ],
)
def test_errors_of_the_command_are_one_line(capsys, options, reason):
    assert command.main(serve, options) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and reason in error


def test_without_a_model_it_serves_the_one_that_comes_with_it(monkeypatch):
    found = {}

    async def use(server, host, port):
        async with server.listening(host, 0) as free_port, aiohttp.ClientSession() as http:
            client = Client(http, f"http://{host}:{free_port}", server)
            async with http.get(f"{client.address}/example") as answer:
                samples, _ = soundfile.read(io.BytesIO(await answer.read()), dtype="int16", always_2d=True)
            found.update(status=await client.status(), samples=samples)
            found["words"] = joined(await client.translate(pieces(samples)))
        raise KeyboardInterrupt

    monkeypatch.setattr(serve, "serve", use)
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    assert command.main(serve, []) == 0
    assert [found["status"][name] for name in ("example", "language", "policy")] == [True, "de", "wait-6"]
    assert found["words"] == words_of(load_translator(MODEL), found["samples"]) and len(found["words"]) == 11


def test_a_part_of_no_model_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(serve, ["--data-bin", "mine"])
    assert ended.value.code == 2
    assert "--data-bin mine does not go with the example, which has its own" in capsys.readouterr().err


def test_errors_of_workers_and_address(monkeypatch, capsys, translator):
    monkeypatch.setattr(serve, "load", lambda options: translator)
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    for options, reason in (("--workers 0", "workers is 0, but must be at least 1"), ("--port 99999", "port")):
        assert command.main(serve, ["--model", "x", *options.split()]) == 1 and reason in capsys.readouterr().err


def test_a_missing_aiohttp_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    for module in ("websocket", "server"):
        monkeypatch.delitem(sys.modules, f"leap_fairseq.serve.{module}")
    assert command.main(serve, ["--model", "x"]) == 1
    assert "error: serving needs aiohttp: pip install 'leap-fairseq[serve]'" in capsys.readouterr().err
