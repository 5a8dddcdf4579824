"""Languages without spaces, and recognition: prepared, trained, streamed, scored and drawn by the usual commands."""

import json

import pytest
from fake_corpora import write_mustc
from preloading import ROOT

from leap_fairseq.report.tables import read_tsv

CHINESE = ("你好，世界。", "我们明天去北京。", "火车五点开。", "请给我一杯茶。", "谢谢你。")
JAPANESE = (
    "こんにちは、世界。",
    "明日は東京へ行きます。",
    "電車は五時に出ます。",
    "お茶を一杯ください。",
    "どうもありがとう。",
)
ENGLISH = ("Hello, world.", "We go there tomorrow.", "The train leaves at five.", "A cup of tea, please.", "Thank you.")
TRAINING = "--recipe small --max-update 2 --save-interval-updates 100 --waitk-lagging 1-3"


@pytest.fixture
def streamed(run_forked, bash, tmp_path):
    """A function: a corpus of five sentences goes through all commands, with the targets of a task, for some k.

    Returns the table. After two updates a model writes nothing in particular, which is enough to be scored.
    """

    def run(corpus, task, lagging, *languages):
        data, model, out = tmp_path / "data", tmp_path / "model", tmp_path / "out"
        options = f"--task {task} --vocab-type char --specaugment none --out"
        run_forked("leap-fairseq", "prepare", "mustc", corpus, *languages, *options.split(), data)
        config = [] if task == "st" else ["--config-yaml", "config_asr.yaml"]
        bash(ROOT / "scripts/simulst/train.sh", data, model, *TRAINING.split(), *config, PROCESSES="1")
        lists = ("--task", task, "--out", tmp_path / "eval")
        run_forked("leap-fairseq", "prepare", "lists", corpus, *languages, *lists)
        options = ("--waitk-lagging", *lagging, "--max-len-b", 8)
        checkpoint = model / "checkpoint_best.pt"
        run_forked("leap-fairseq", "evaluate", checkpoint, tmp_path / "eval/tst-COMMON", out, *options)
        runs = [out / f"k{k}" for k in lagging] if len(lagging) > 1 else [out]
        run_forked("leap-fairseq", "score", *runs, "--tsv", out / "again.tsv")
        table, again = read_tsv(out / "table.tsv"), read_tsv(out / "again.tsv")
        assert [[row[name] for row in again] for name in ("BLEU", "LAAL", "signature")] == [
            [row[name] for row in table] for name in ("BLEU", "LAAL", "signature")
        ]
        assert all(row["sentences"] == 5 for row in table)
        return table

    return run


@pytest.mark.parametrize("language, texts, tokenizer", [("zh", CHINESE, "zh"), ("ja", JAPANESE, "ja-mecab")])
def test_a_language_without_spaces(run_forked, streamed, tmp_path, language, texts, tokenizer):
    pytest.importorskip("matplotlib")
    if language == "ja":
        pytest.importorskip("MeCab")
        pytest.importorskip("ipadic")
    sentences = list(zip(ENGLISH, texts))
    corpus = write_mustc(tmp_path / "mustc", tgt_lang=language, sentences=sentences, seconds=1.2)
    table = streamed(corpus, "st", [3], "--tgt-lang", language)
    assert all(f"|tok:{tokenizer}" in row["signature"] and "unit:char" in row["signature"] for row in table)
    assert "WER" not in table[0]
    lines = [json.loads(line) for line in (tmp_path / "out/instances.log").read_text().splitlines()]
    assert [line["reference"] for line in lines] == list(texts)
    assert all(len(line["delays"]) == len(line["prediction"]) == line["prediction_length"] for line in lines)
    # The reference is what a good model would have written: its picture is drawn in the unit of the folder.
    for line in lines:
        times = [1000.0 + 20 * index for index in range(len(line["reference"]))]
        line.update(prediction=line["reference"], delays=times, elapsed=times, prediction_length=len(times))
    log = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "out/instances.log").write_text(log)
    picture = tmp_path / "staircase.png"
    drawn = run_forked("leap-fairseq", "plot", "staircase", tmp_path / "out", "--out", picture).output
    # In glyphs where this system has a font, else with one line that says so.
    assert picture.stat().st_size > 10_000 and "missing from" not in drawn and drawn.count("no font here has") <= 1
    scored = run_forked("leap-fairseq", "score", tmp_path / "out", "--json", tmp_path / "perfect.json")
    (row,) = json.loads((tmp_path / "perfect.json").read_text())
    assert row["BLEU"] == pytest.approx(100) and row["chrF"] == pytest.approx(100), scored.output


def test_a_recogniser(streamed, tmp_path):
    """Of a language that is not English; its scores have error rates, which nobody has asked for."""
    pytest.importorskip("matplotlib")
    sentences = [(text, "-") for text in ENGLISH]
    corpus = write_mustc(tmp_path / "mustc", tgt_lang="en", src_lang="fr", sentences=sentences, seconds=1.2)
    table = streamed(corpus, "asr", [1, 3], "--src-lang", "fr", "--tgt-lang", "en")
    assert all(row["WER"] > 0 and row["CER"] > 0 and "WER,CER" in row["signature"] for row in table)
    assert (tmp_path / "out/quality_latency.png").stat().st_size > 5000
    lines = [json.loads(line) for line in (tmp_path / "out/k1/instances.log").read_text().splitlines()]
    assert [line["reference"] for line in lines] == list(ENGLISH)
    facts = json.loads((tmp_path / "out/k1/evaluation.json").read_text())
    assert (facts["--src-lang"], facts["--tgt-lang"]) == ("fr", "fr")


def test_a_recogniser_without_its_option_is_offered(bash, tmp_path):
    (tmp_path / "config_asr.yaml").write_text("")
    output = bash(ROOT / "scripts/simulst/train.sh", tmp_path, tmp_path / "model", code=1)
    assert "has no config_st.yaml" in output and "or train a recogniser: --config-yaml config_asr.yaml" in output
