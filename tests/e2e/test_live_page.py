"""The live page in a real browser: a recording is sent at the speed of speech, and words are shown before it ends.

The browser is driven over its DevTools protocol. Skipped where there is no Chromium or no aiohttp.
"""

import asyncio
import base64
import itertools
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile

aiohttp = pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'leap_fairseq[serve]'")

from live_client import served  # noqa: E402

from leap_fairseq.example import MODEL, RECORDING  # noqa: E402
from leap_fairseq.models import load_translator  # noqa: E402

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = (
    "--headless=new --remote-debugging-port=0 --no-sandbox --disable-gpu --no-first-run --disable-dev-shm-usage "
    "--use-fake-ui-for-media-stream --use-fake-device-for-media-stream --window-size=1000,900"
)
PATIENCE = 60

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=f"none of {', '.join(NAMES)} is installed")


class Browser:
    """A headless Chromium with one page, as a context.

    Args:
        folder: of its profile.
        flags: further ones.
    """

    def __init__(self, folder, *flags):
        self.folder, self.flags, self.numbers = folder, flags, itertools.count()
        self.errors = []

    async def __aenter__(self):
        command = [CHROMIUM, *FLAGS.split(), *self.flags, f"--user-data-dir={self.folder}", "about:blank"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            return await self._connected()
        except BaseException:
            self.process.kill()
            raise

    async def _connected(self):
        ready = Path(self.folder, "DevToolsActivePort")
        await wait_for(lambda: ready.is_file() and ready.read_text().count("\n"))
        port = ready.read_text().split()[0]
        self.session = aiohttp.ClientSession()
        async with self.session.get(f"http://127.0.0.1:{port}/json/list") as answer:
            (page,) = [target for target in await answer.json() if target["type"] == "page"]
        self.socket = await self.session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0)
        for domain in ("Page", "DOM", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        return self

    async def __aexit__(self, *_):
        await self.session.close()
        self.process.terminate()
        self.process.wait()

    async def call(self, method, **parameters):
        """The result of a method; what the page reports meanwhile as an error is kept."""
        number = next(self.numbers)
        await self.socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            answer = await self.socket.receive_json(timeout=PATIENCE)
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            if answer["method"] == "Runtime.exceptionThrown":
                self.errors.append(answer["params"]["exceptionDetails"])
            if answer["method"] == "Log.entryAdded" and answer["params"]["entry"]["level"] == "error":
                self.errors.append(answer["params"]["entry"])

    async def evaluate(self, expression):
        """The value of an expression, as if a user had caused it."""
        options = {"returnByValue": True, "awaitPromise": True, "userGesture": True}
        return (await self.call("Runtime.evaluate", expression=expression, **options))["result"].get("value")

    async def choose_file(self, selector, path):
        """Gives a file to an input."""
        root = (await self.call("DOM.getDocument"))["root"]["nodeId"]
        node = (await self.call("DOM.querySelector", nodeId=root, selector=selector))["nodeId"]
        await self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    async def picture(self):
        """PNG of the page."""
        return base64.b64decode((await self.call("Page.captureScreenshot", format="png"))["data"])


async def wait_for(condition, seconds=PATIENCE):
    """Returns what a function, plain or not, returns once it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        await asyncio.sleep(0.02)
    raise AssertionError(f"it did not come true in {seconds} s")


@pytest.fixture(scope="module")
def address(simul_checkpoint, environment, elsewhere):
    """Of a server over the trained model, ended as by Ctrl-C."""
    command = [sys.executable, "-m", "leap_fairseq", "serve", "--model", simul_checkpoint, "--waitk-lagging", "1"]
    process = subprocess.Popen(
        [*map(str, command), "--port", "0"],
        cwd=elsewhere,
        env={**environment, "PYTHONWARNINGS": "ignore"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("http://127.0.0.1:"), line
        yield line.split()[0]
        process.send_signal(2)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()


async def follow(browser):
    """Watches a session to its end; returns (state, words shown) at each change."""
    seen = []
    words = '[...document.querySelectorAll("#words span")].map((word) => word.textContent)'

    async def over():
        state, shown = await browser.evaluate(f"[document.body.dataset.state, {words}]")
        if not seen or seen[-1] != (state, shown):
            seen.append((state, shown))
        return state in ("finished", "error")

    await wait_for(over)
    return seen


COUNT_WAITS = "const wait = setTimeout; var waits = 0; setTimeout = (...given) => (waits++, wait(...given)); null"
"""Has the page count how often it waits."""


async def open_page(browser, address, policy="wait-1"):
    await browser.call("Page.navigate", url=address)
    text = 'document.getElementById("policy")?.textContent'
    assert policy in await wait_for(lambda: browser.evaluate(text))


def test_a_recording_is_translated_while_it_is_heard(address, wavs, tmp_path):
    path = wavs[0][0]

    async def drive():
        async with Browser(tmp_path / "profile") as browser:
            await open_page(browser, address)
            await browser.choose_file("#file", path)
            seen = await follow(browser)
            (tmp_path / "page.png").write_bytes(await browser.picture())
            return seen, await browser.evaluate('document.getElementById("state").textContent'), browser.errors

    seen, text, errors = asyncio.run(drive())
    assert not errors
    assert seen[-1][0] == "finished" and text.startswith("Finished: ")
    # Which it is until the sound has ended.
    assert any(state == "listening" and shown for state, shown in seen)
    assert (tmp_path / "page.png").stat().st_size > 10_000


def test_the_example_is_translated_and_saved(tmp_path):
    translator = load_translator(MODEL)

    async def drive(client):
        async with Browser(tmp_path / "profile") as browser:
            await browser.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
            await open_page(browser, client.address, "wait-6")
            await browser.evaluate('document.getElementById("example").click()')
            await follow(browser)
            (tmp_path / "page.png").write_bytes(await browser.picture())
            files = [tmp_path / f"translation.{ending}" for ending in ("txt", "srt")]
            for file in files:
                await browser.evaluate(f'document.getElementById("{file.suffix[1:]}").click()')
                await wait_for(lambda file=file: file.is_file() and file.stat().st_size)
            state = await browser.evaluate('document.getElementById("state").textContent')
            return state, *(file.read_text(encoding="utf-8") for file in files), browser.errors

    state, text, subtitles, errors = served(translator, drive, example=RECORDING)
    assert not errors and re.fullmatch(r"Finished: 3.9 s heard, 11 words, \d+\.\d s behind", state)
    assert len(text.splitlines()) == 11 and text.startswith("    1.") and "Könnten\n" in text
    assert subtitles.startswith("1\n00:00:01,") and "Könnten Sie mir bitte sechs Tassen Kaffee" in subtitles


def test_k_is_chosen_and_the_text_is_copied(tmp_path):
    translator = load_translator(MODEL)

    async def fill(browser, **options):
        for name, value in options.items():
            await browser.evaluate(f'document.getElementById("option-{name}").value = {json.dumps(value)}')
        await browser.evaluate('document.getElementById("example").click()')
        await follow(browser)
        shown = "[document.getElementById('policy').textContent, document.getElementById('state').textContent]"
        return await browser.evaluate(shown)

    async def drive(client):
        async with Browser(tmp_path / "profile") as browser:
            await browser.call(
                "Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"]
            )
            await browser.call("Emulation.setFocusEmulationEnabled", enabled=True)
            await open_page(browser, client.address, "wait-6")
            await browser.evaluate('document.getElementById("fast").checked = true')
            await browser.evaluate('document.querySelector("details").open = true')
            found = [await fill(browser, waitk_lagging="3"), await fill(browser, waitk_lagging="none")]
            found.append(await fill(browser, waitk_lagging=""))
            (tmp_path / "page.png").write_bytes(await browser.picture())
            await browser.evaluate('document.getElementById("copy").click()')
            copied = 'document.getElementById("copied").textContent'
            found.append(await wait_for(lambda: browser.evaluate(copied)))
            return found, await browser.evaluate("navigator.clipboard.readText()"), browser.errors

    (chosen, refused, default, said), text, errors = served(translator, drive, example=RECORDING)
    assert chosen[0].startswith("wait-3, a decision every 160 ms") and chosen[1].startswith("Finished: ")
    assert refused[1] == "Ended: waitk_lagging of the session is 'none': 'none' must be a number of at least 1"
    assert default[0].startswith("wait-6, ") and default[1].startswith("Finished: ") and not errors
    assert said == "Copied." and len(text.splitlines()) == 11 and "Könnten\n" in text


def test_as_fast_as_possible_gives_the_same_words(address, wavs, tmp_path):
    async def drive():
        async with Browser(tmp_path / "profile") as browser:
            shown = []
            for fast in (False, True):
                await open_page(browser, address)
                await browser.evaluate(f'document.getElementById("fast").checked = {str(fast).lower()}')
                await browser.evaluate(COUNT_WAITS)
                await browser.choose_file("#file", wavs[1][0])
                shown.append(((await follow(browser))[-1], await browser.evaluate("waits")))
            return shown

    (slow, slow_waits), (fast, fast_waits) = asyncio.run(drive())
    assert slow == fast and fast[1]
    # Before each piece of 100 ms, and before none of a recording that is short enough for the server.
    assert slow_waits >= int(soundfile.info(wavs[1][0]).duration / 0.1) and fast_waits == 0


def test_the_microphone_is_heard_until_stop(address, wavs, tmp_path):
    async def drive():
        flag = f"--use-file-for-fake-audio-capture={wavs[0][0]}"
        async with Browser(tmp_path / "profile", flag) as browser:
            await open_page(browser, address)
            await browser.evaluate('document.getElementById("microphone").click()')
            count = 'document.querySelectorAll("#words span").length'
            await wait_for(lambda: browser.evaluate(count))
            await browser.evaluate('document.getElementById("stop").click()')
            return await follow(browser), browser.errors

    seen, errors = asyncio.run(drive())
    assert not errors and seen[-1][0] == "finished"


def test_a_refused_microphone_is_told_what_to_do(address, tmp_path):
    async def drive():
        async with Browser(tmp_path / "profile", "--use-fake-ui-for-media-stream=deny") as browser:
            await open_page(browser, address)
            await browser.evaluate('document.getElementById("microphone").click()')
            return await follow(browser), await browser.evaluate('document.getElementById("state").textContent')

    seen, text = asyncio.run(drive())
    assert seen[-1][0] == "error"
    assert text.startswith("Ended: The microphone was refused: allow it for this page") and "audio file" in text


def test_what_was_left_out_is_said_and_the_language_is_known(simul_checkpoint, wavs, tmp_path):
    translator = load_translator(simul_checkpoint, max_len_b=2, waitk_lagging=1)

    async def drive(client):
        client.server.language = "de"
        async with Browser(tmp_path / "profile") as browser:
            await open_page(browser, client.address)
            await browser.choose_file("#file", wavs[0][0])
            await follow(browser)
            ids = "[document.getElementById('state').textContent, document.getElementById('words').lang]"
            return await browser.evaluate(ids)

    text, language = served(translator, drive)
    left = float(re.search(r"The rest of the recording, (.*) s, is not translated: .* --long-form", text)[1])
    assert 0 < left < soundfile.info(wavs[0][0]).duration and language == "de"
