"""What the page saves and copies, and how far behind it says that the translation is: its JavaScript, run by Node."""

import json
import shutil
import subprocess

import pytest
from preloading import PLUGIN

from leap_fairseq.cli.translate import Lines
from leap_fairseq.scoring.latency import length_adaptive_average_lagging
from leap_fairseq.streaming import Word

MODULE = PLUGIN / "serve/page/transcript.js"
NODE = shutil.which("node")

TIMES = [("Guten", 840.0, 0), ("Tag.", 1000.0, 0), ("Danke", 2040.0, 1), ("sehr.", 2500.0, 1), ("Ja.", 2500.0, 2)]
WORDS = [dict(zip(("text", "delay", "sentence"), word)) for word in TIMES]

pytestmark = pytest.mark.skipif(NODE is None, reason="needs node")


@pytest.fixture
def evaluate(tmp_path):
    """A function: the value of an expression over the words and the functions of the module."""
    module = tmp_path / "transcript.mjs"
    shutil.copyfile(MODULE, module)

    def run(expression, words=WORDS):
        program = tmp_path / "program.mjs"
        text = f"import * as page from './transcript.mjs'; const words = {json.dumps(words)};\n"
        program.write_text(f"{text}console.log(JSON.stringify({expression}));\n", encoding="utf-8")
        return json.loads(subprocess.run([NODE, program], check=True, capture_output=True, text=True).stdout)

    return run


@pytest.mark.parametrize("by_sentence", [True, False])
def test_the_text_is_that_of_the_command(evaluate, capsys, by_sentence):
    lines = Lines(by_sentence)
    lines.write(Word(*word) for word in TIMES)
    lines.end()
    assert evaluate(f"page.asText(words, ' ', {json.dumps(by_sentence)})") == capsys.readouterr().out


def test_subtitles_follow_each_other(evaluate):
    assert evaluate("page.asSubtitles(words, ' ', 2500)") == (
        "1\n00:00:00,840 --> 00:00:02,040\nGuten Tag.\n\n"
        "2\n00:00:02,040 --> 00:00:03,040\nDanke sehr.\n\n"
        "3\n00:00:03,040 --> 00:00:04,040\nJa.\n\n"
    )
    long = [{"text": "Fahrkarte", "delay": 3_600_000.0, "sentence": 0}] * 20
    blocks = [block.split("\n") for block in evaluate("page.asSubtitles(words, ' ', 3600000)", long).split("\n\n")[:-1]]
    assert [len(text.split()) for _, _, text in blocks] == [8, 8, 4] and all(len(block[2]) <= 84 for block in blocks)
    times = [line.split(" --> ") for _, line, _ in blocks]
    assert times[0][0] == "01:00:00,000" and all(times[i][1] == times[i + 1][0] for i in range(2))
    pieces = [{"text": text, "delay": 900.0, "sentence": 0} for text in (" Guten", " T", "ag")]
    assert evaluate("page.asSubtitles(words, '', 900)", pieces).split("\n")[2] == "Guten Tag"


@pytest.mark.parametrize("heard", [2500.0, 2040.0, 9000.0])
def test_behind_is_average_lagging(evaluate, heard):
    delays = [word["delay"] for word in WORDS]
    expected = length_adaptive_average_lagging(delays, heard, len(delays))
    assert evaluate(f"page.secondsBehind(words, {heard})") == pytest.approx(expected / 1000)
    assert evaluate("page.secondsBehind(words, 0)", []) == 0


@pytest.mark.parametrize(
    "clipboard, expected",
    [
        ("undefined", "Browsers give the clipboard to https pages and to localhost only; saving works here."),
        (
            "{ writeText: async () => { throw new Error('denied') } }",
            "The browser does not let the page copy (denied); saving",
        ),
        ("{ writeText: async (text) => { globalThis.copied = text } }", "Ja."),
    ],
)
def test_what_is_copied_is_told(evaluate, clipboard, expected):
    setting = (
        f"Object.defineProperty(globalThis, 'navigator', {{ value: {{ clipboard: {clipboard} }}, configurable: true }})"
    )
    found = evaluate(f"({setting}, await page.copy('Ja.').then(() => globalThis.copied, (error) => error.message))")
    assert found.startswith(expected)
