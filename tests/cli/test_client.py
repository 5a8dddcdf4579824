"""The command that measures a server: the words of translate, and a log that is scored, resumed, and never half."""

import json

import pytest
import soundfile

pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'leap-fairseq[serve]'")

from live_client import serving  # noqa: E402

from leap_fairseq.cli import client, main  # noqa: E402
from leap_fairseq.example import MODEL, RECORDING  # noqa: E402
from leap_fairseq.models import load_translator  # noqa: E402
from leap_fairseq.report.tables import read_tsv  # noqa: E402
from leap_fairseq.scoring.instances import read_instances  # noqa: E402
from leap_fairseq.scoring.units import KEPT_SPACE, unit_named  # noqa: E402
from leap_fairseq.serve import server as server_module  # noqa: E402
from leap_fairseq.serve.client import ReceivedWord, Translation  # noqa: E402
from leap_fairseq.serve.session import Session  # noqa: E402
from leap_fairseq.streaming import StreamingTranslator  # noqa: E402

REFERENCE = "Könnten Sie mir bitte sechs Tassen Kaffee und die Rechnung bringen?"


@pytest.fixture(scope="module")
def translator():
    return load_translator(MODEL)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Three recordings of speech, each longer than the one before."""
    samples, rate = soundfile.read(RECORDING, dtype="int16")
    paths = [tmp_path_factory.mktemp("recordings") / f"{number}.wav" for number in range(3)]
    for path, seconds in zip(paths, (0.9, 1.3, 1.7)):
        soundfile.write(path, samples[: int(seconds * rate)], rate)
    return paths


@pytest.fixture(scope="module")
def expected(translator, recordings):
    """Of each, the fields of its line of the log, but for the elapsed times: what the translator alone writes."""
    lines = []
    for path in recordings:
        samples, rate = soundfile.read(path, dtype="float32")
        stream = translator.new_stream()
        words = [word for first in range(0, len(samples), 2560) for word in stream.push(samples[first:][:2560], rate)]
        words += stream.finish()
        times = {"delays": [word.delay for word in words], "source_length": 1000 * len(samples) / rate}
        text = " ".join(word.text for word in words)
        more = {"reference": REFERENCE, "source": [str(path)], "prediction_length": len(words)}
        lines.append({"prediction": text, **times, **more})
    assert all(line["prediction"] for line in lines)
    return lines


@pytest.fixture
def lists(recordings, tmp_path):
    (tmp_path / "eval.wav_list").write_text("".join(f"{path}\n" for path in recordings))
    (tmp_path / "eval.target").write_text(f"{REFERENCE}\n" * 3, encoding="utf-8")
    return tmp_path / "eval"


def measured(address, lists, out, *options):
    """The exit code of a measurement."""
    return main(["client", "--lists", str(lists), "--out", str(out), "--url", address, "--fast", *options])


def check(out, expected):
    """The log has exactly these recordings, each as the translator alone writes it, and nothing is left beside it."""
    lines = [json.loads(line) for line in (out / "instances.log").read_text().splitlines()]
    assert [line.pop("index") for line in lines] == list(range(len(expected)))
    for line in lines:
        assert all(delay <= elapsed for delay, elapsed in zip(line["delays"], line.pop("elapsed"), strict=True))
    assert lines == expected
    assert {path.name for path in out.iterdir()} <= {"evaluation.json", "instances.log", "left_out.tsv"}


def test_words_are_written_as_translate_writes_them(translator, recordings, capsys):
    short = str(recordings[1])
    for words in (["--example"], [short, "--model", str(MODEL)]):
        assert main(["translate", *words]) == 0
    written = capsys.readouterr().out
    assert len(written.splitlines()) > 11
    with serving(translator) as (address, _):
        # The second one at the speed of speech.
        for words in (["--example", "--fast"], [short]):
            assert main(["client", "--url", address, *words]) == 0
        assert capsys.readouterr().out == written
        assert main(["client", "--url", address, short, "--fast", "--waitk-lagging", "3"]) == 0
        assert float(capsys.readouterr().out.split()[0]) < 1.28


@pytest.mark.parametrize("sessions", [1, 3])
def test_a_list_is_logged_and_scored(translator, lists, expected, tmp_path, capsys, sessions):
    out = tmp_path / "out"
    with serving(translator, language="de") as (address, server):
        assert measured(address, lists, out, "--sessions", str(sessions)) == 0
        check(out, expected)
        assert bool(capsys.readouterr().out) == (sessions == 1)
        before = (out / "instances.log").read_bytes()
        assert measured(address, lists, out, "--sessions", str(sessions)) == 0
        assert server.total == 3 and (out / "instances.log").read_bytes() == before
    assert main(["score", str(out), "--tsv", str(tmp_path / "scores.tsv")]) == 0
    (row,) = read_tsv(tmp_path / "scores.tsv")
    assert row["sentences"] == 3 and row["chrF"] > 10 and row["LAAL_CA"] > row["LAAL"] > 0
    facts = json.loads((out / "evaluation.json").read_text())
    assert (facts["--tgt-lang"], facts["server"], facts["sentences"]) == ("de", "wait-6", 3)


def test_what_was_finished_is_kept_when_the_server_fails(translator, lists, expected, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    with monkeypatch.context() as patch, serving(translator) as (address, _):
        # Not those of the clock, which may have passed before on a slow machine.
        patch.setattr(server_module, "Session", lambda stream, minutes: Session(stream, 1.5 / 60))
        assert measured(address, lists, out) == 1
    refused = lists.with_suffix(".wav_list").read_text().split()[2]
    assert f"error: {refused}: the server says: this session has heard 0.025 minutes" in capsys.readouterr().err
    check(out, expected[:2])
    assert main(["score", str(out)]) == 1
    assert "1 sentences are missing or too many (index 2): finish the run first" in capsys.readouterr().err
    with serving(translator) as (address, server):
        assert measured(address, lists, out) == 0
        assert server.total == 1
    check(out, expected)


def test_what_a_killed_process_noted_is_not_streamed_again(translator, lists, expected, tmp_path, caplog):
    out = tmp_path / "out"
    lines = [json.dumps({"index": n, **line, "elapsed": line["delays"]}) + "\n" for n, line in enumerate(expected)]
    with serving(translator) as (address, server):
        assert measured(address, lists, out) == 0
        (out / "instances.log").write_text(lines[1])
        (out / ".instances.log.noted").write_text(lines[2] + lines[0][:50])
        assert measured(address, lists, out) == 0
        assert server.total == 3 + 1
    check(out, expected)
    assert "breaks off" in caplog.text


def test_another_measurement_in_the_folder_is_refused(translator, lists, expected, tmp_path, capsys):
    out = tmp_path / "out"
    with serving(translator) as (address, server):
        assert measured(address, lists, out) == 0
        for options, was in (
            (["--sessions", "2"], "--sessions 1, not 2"),
            (["--segment-ms", "80"], "--segment-ms 160, not 80"),
            (["--waitk-lagging", "3"], "--waitk-lagging None, not 3"),
        ):
            assert measured(address, lists, out, *options) == 1
            assert f"holds an evaluation of {was}: give a new folder" in capsys.readouterr().err
        assert server.total == 3
    check(out, expected)


def test_recordings_that_cannot_be_translated_are_left_out_by_name(translator, lists, expected, tmp_path, caplog):
    out, (first, _, third) = tmp_path / "out", lists.with_suffix(".wav_list").read_text().split()
    (tmp_path / "text.wav").write_text("no audio")
    lists.with_suffix(".wav_list").write_text(f"{first}\n{tmp_path}/text.wav\n{third}\n")
    with serving(translator) as (address, _):
        assert measured(address, lists, out) == 0
    check(out, expected[::2])
    assert f"2\t{tmp_path}/text.wav\t" in (out / "left_out.tsv").read_text()
    assert "1 recordings were left out, listed in" in caplog.text


def test_a_file_that_is_no_audio_is_named(translator, tmp_path, capsys):
    (tmp_path / "text.wav").write_text("no audio")
    with serving(translator) as (address, _):
        assert main(["client", str(tmp_path / "text.wav"), "--url", address]) == 1
        assert main(["client", str(tmp_path / "none.wav"), "--url", address]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2 and "text.wav" in errors[0] and "none.wav" in errors[1]


@pytest.mark.parametrize(
    "words, code, message",
    [
        (
            ["--example", "--url", "http://127.0.0.1:9/"],
            1,
            "error: no server at http://127.0.0.1:9 (Connect call failed",
        ),
        (["--example", "--url", "localhost"], 1, "error: 'localhost' is no address of a page"),
        ([], 2, "give one of FILE ..., --example alone, and --lists LISTS --out OUT"),
        (["x.wav", "--example"], 2, "give one of FILE"),
        (["--lists", "x"], 2, "give one of FILE"),
        (["x.wav", "--out", "y"], 2, "give one of FILE"),
        (["x.wav", "--sessions", "0"], 2, "must be a number of at least 1"),
    ],
)
def test_errors_are_one_line(capsys, words, code, message):
    try:
        assert main(["client", *words]) == code
    except SystemExit as ended:
        assert ended.code == code
    assert message in capsys.readouterr().err.strip().splitlines()[-1]


def test_a_missing_list_is_named(translator, tmp_path, capsys):
    with serving(translator) as (address, _):
        assert measured(address, tmp_path / "none", tmp_path / "out") == 1
    assert "none.wav_list is missing" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "unit, texts, prediction, delays",
    [
        ("word", ["ja", "gut"], "ja gut", [1, 2]),
        ("char", ["a", "b", " c"], f"ab{KEPT_SPACE}c", [1, 2, 3, 3]),
        ("spm", ["▁ja", "▁g", "ut"], "ja gut", [1, 2, 3]),
    ],
)
def test_units_are_those_of_the_server(tmp_path, unit, texts, prediction, delays):
    words = [ReceivedWord(text, float(time), time + 0.5, 0) for time, text in enumerate(texts, start=1)]
    line = client.log_line(0, "a.wav", "ja", Translation(words, 1000.0, None), unit)
    (tmp_path / "instances.log").write_text(json.dumps(line) + "\n")
    assert line["prediction"] == prediction and line["prediction_length"] == len(delays)
    (instance,) = read_instances(tmp_path, unit_named(unit))
    assert instance.delays == delays and instance.elapsed == [delay + 0.5 for delay in delays]


def test_long_form_writes_a_sentence_a_line(translator, recordings, expected, monkeypatch, capsys):
    """The model of the example has no long form: what its server says of itself is changed."""
    alone = translator.new_stream()
    monkeypatch.setattr(translator, "long_form", True)
    monkeypatch.setattr(StreamingTranslator, "new_stream", lambda self: alone)
    with serving(translator) as (address, _):
        assert main(["client", str(recordings[2]), "--fast", "--url", address]) == 0
    assert capsys.readouterr().out == f"    1.28  {expected[2]['prediction']}\n"
