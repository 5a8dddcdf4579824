"""The server and those who are no listeners: other names for it, requests that never end or are none, its own end."""

import asyncio
import logging
import os
import re
import signal
import socket
import threading
from contextlib import closing
from urllib.parse import urlsplit

import pytest

aiohttp = pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'leap-fairseq[serve]'")

from live_client import HEADER, HOST, give, replies, served  # noqa: E402

from leap_fairseq.cli import command, serve  # noqa: E402
from leap_fairseq.serve.hosts import AllowedHosts  # noqa: E402
from leap_fairseq.serve.server import Server  # noqa: E402

HEAD = b"GET /status HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    "listens, header, allowed",
    [
        ("127.0.0.1", "127.0.0.1:8642", True),
        ("127.0.0.1", "LocalHost.:1", True),
        ("127.0.0.1", "127.8.9.1", True),
        ("127.0.0.1", "[::1]:8642", True),
        ("127.0.0.1", "proxy.example", True),
        ("127.0.0.1", "192.168.1.5", False),
        ("127.0.0.1", "evil.example", False),
        ("127.0.0.1", "localhost.evil.example", False),
        ("127.0.0.1", "127.0.0.1.evil.example", False),
        ("127.0.0.1", "evil.example@localhost", False),
        ("127.0.0.1", "localhost/evil.example", False),
        ("127.0.0.1", "localhost:http", False),
        ("127.0.0.1", "localhost, evil.example", False),
        ("127.0.0.1", "[::1", False),
        ("127.0.0.1", "", False),
        ("studio.local", "studio.local:80", True),
        ("192.168.1.5", "192.168.1.5:80", True),
        ("0.0.0.0", "192.168.1.5", True),
        ("::", "[fe80::1]:80", True),
        ("0.0.0.0", "evil.example", False),
    ],
)
def test_by_which_names_a_request_is_for_the_server(listens, header, allowed):
    assert AllowedHosts(listens, ["Proxy.example"]).allow(header) is allowed


@pytest.mark.parametrize("name", ["http://proxy", "proxy:80", "proxy/page", "*", "", "a@b"])
def test_what_is_no_name_is_refused(name):
    if name == "*":
        # No pattern: a name that no request has.
        assert not AllowedHosts(HOST, [name]).allow("evil.example")
        return
    with pytest.raises(ValueError, match="is no name of a host: give it without .* .--allow-host"):
        AllowedHosts(HOST, [name])


def test_a_name_that_was_made_to_point_here_reaches_nothing(translator, caplog):
    async def scenario(client):
        found = []
        for path in ("/", "/status", "/page/page.js", "/stream", "/none"):
            headers = {"Host": "evil.example\t", "Origin": "http://evil.example"}
            async with client.http.get(client.address + path, headers=headers) as answer:
                found.append((answer.status, await answer.text()))
        return found, client.server.total

    found, sessions = served(translator, scenario)
    assert {status for status, _ in found} == {403} and sessions == 0
    assert all("does not go by the name of evil.example: open the address" in text for _, text in found)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("leap_fairseq")]
    assert len(lines) == 5 and lines[1].startswith("refused 'GET /status' of 127.0.0.1: 'this server does not go by")


async def connect(client, sent=b"", count=1):
    """Connections that have sent so much, each as (reader, writer)."""
    address = urlsplit(client.address)
    opened = [await asyncio.open_connection(address.hostname, address.port) for _ in range(count)]
    for _, writer in opened:
        writer.write(sent)
        await writer.drain()
    return opened


async def rest_of(reader):
    """What comes until the end of the connection."""
    try:
        return await asyncio.wait_for(reader.read(), 20)
    except ConnectionError:
        return b""


async def is_open(reader):
    try:
        await asyncio.wait_for(reader.read(), 0.3)
    except TimeoutError:
        return True
    except ConnectionError:
        pass
    return False


@pytest.mark.parametrize("sent", [b"", HEAD, HEAD + b"\r\n"], ids=["nothing", "half a request", "a request"])
def test_crowds_lock_nobody_out(translator, sent):
    """Without the limits, the last of them all are still open."""

    async def scenario(client):
        crowd = await connect(client, sent, 60)
        async with client.open() as listener:
            await give(listener, HEADER)
            crowd += await connect(client, sent, 60)
            status = await client.status()
            await give(listener, {"end": True})
            received = await replies(listener)
        open_now = sum(await asyncio.gather(*(is_open(reader) for reader, _ in crowd)))
        for _, writer in crowd:
            writer.close()
        return status, received, open_now

    status, received, open_now = served(translator, scenario, max_connections=20)
    assert status["open"] == 1 and received[-1] == {"finished": True} and 0 < open_now <= 20
    *_, open_now = served(translator, scenario, max_connections=200)
    assert open_now == 120


@pytest.mark.parametrize("sent", [b"", HEAD, HEAD + b"\r\n", HEAD + b"\r\n" + HEAD])
def test_a_connection_that_asks_for_nothing_ends(translator, sent):
    async def scenario(client):
        ((reader, writer),) = await connect(client, sent)
        received = await rest_of(reader)
        writer.close()
        return received

    assert served(translator, scenario, header_seconds=0.3).count(b"200 OK") == sent.count(b"\r\n\r\n")


def test_a_session_does_not_end_with_the_time_for_requests(translator):
    async def scenario(client):
        async with client.open() as listener:
            await asyncio.sleep(1.5)
            await give(listener, HEADER)
            await give(listener, {"end": True})
            return await replies(listener)

    assert served(translator, scenario, header_seconds=1)[-1] == {"finished": True}


MALFORMED = {
    "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "no request line": b"hello\r\n\r\n",
    "a header without colon": b"GET / HTTP/1.1\r\nHost localhost\r\n\r\n",
    "control characters": b"GET / HTTP/1.1\r\nHost: local\x1b[2Jhost\r\n\r\n",
    "an endless header": b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    "no websocket": b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "another method": b"DELETE /status HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no such page": b"GET /\x25\x30\x61line HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_requests_leave_one_line_and_learn_nothing(translator, caplog, name, debug):
    caplog.set_level(logging.INFO)

    async def scenario(client):
        asyncio.get_running_loop().set_debug(debug)
        caplog.clear()
        ((reader, writer),) = await connect(client, MALFORMED[name])
        received = await rest_of(reader)
        writer.close()
        return received.decode(errors="replace"), list(caplog.records)

    received, records = served(translator, scenario, header_seconds=0.2)
    assert re.match(r"HTTP/1\.[01] 4\d\d ", received), received
    assert not re.search(r"Traceback|\.py|/work|/home|site-packages", received)
    (record,) = [record for record in records if record.name != "asyncio"]
    text = record.getMessage()
    assert text.startswith("refused ") and record.exc_info is None and len(text) < 600 and text.isprintable()


@pytest.mark.parametrize("debug", [False, True])
def test_a_fault_of_ours_shows_no_stack(translator, caplog, debug, monkeypatch):

    async def scenario(client):
        asyncio.get_running_loop().set_debug(debug)
        async with client.http.get(f"{client.address}/status", headers={"Accept": "text/html"}) as answer:
            return answer.status, await answer.text()

    monkeypatch.setattr(Server, "open", property(lambda server: 1 / 0))
    assert served(translator, scenario) == (500, "500: Internal Server Error")
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("computing", [False, True])
def test_the_system_ends_it_at_once_whatever_is_computed(translator, monkeypatch, computing):
    """A listener that says nothing, half a request, and sums that go on do not hold it up."""
    listens, begun, released, codes = *(threading.Event() for _ in range(3)), []

    def hear(self, samples, rate):
        begun.set()
        assert released.wait(20)

    def leave(code):
        codes.append((code, released.is_set()))
        released.set()

    if computing:
        monkeypatch.setattr(type(translator), "hear", hear)
    with closing(socket.socket()) as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    end = serve._end

    def begin():
        listens.set()
        return end()

    monkeypatch.setattr(serve, "_end", begin)
    monkeypatch.setattr(serve, "load", lambda options: translator)
    monkeypatch.setattr(serve, "number_of_workers", lambda options: 1)
    monkeypatch.setattr(serve, "os", type("os", (), {"_exit": staticmethod(leave), "cpu_count": os.cpu_count}))

    async def listen():
        async with aiohttp.ClientSession() as http, http.ws_connect(f"http://{HOST}:{port}/stream") as listener:
            _, writer = await asyncio.open_connection(HOST, port)
            writer.write(HEAD)
            await give(listener, HEADER)
            if computing:
                await give(listener, b"\0\0")
                assert await asyncio.to_thread(begun.wait, 20)
            signal.raise_signal(signal.SIGTERM)
            received = await replies(listener)
            writer.close()
            return received

    received = []

    def client():
        assert listens.wait(20)
        received.extend(asyncio.run(listen()))

    thread = threading.Thread(target=client, daemon=True)
    thread.start()
    assert command.main(serve, ["--model", "x", "--port", str(port), "--header-seconds", "100"]) == 0
    thread.join(20)
    assert received == [{"error": "the server is stopping: open another session later"}]
    assert codes == [(0, False)]
