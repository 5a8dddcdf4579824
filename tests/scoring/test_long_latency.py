"""LongYAAL and its sisters by hand, and against OmniSTEval and simulstream, with their ways to split and with ours."""

import itertools
import json
import math
import random
import sys
from types import SimpleNamespace

import pytest

from leap_fairseq.scoring import long_latency
from leap_fairseq.scoring.any_log import references_from, score_log
from leap_fairseq.scoring.instances import Part, read_any_log
from leap_fairseq.scoring.long_form import split_recording
from leap_fairseq.scoring.long_latency import LONG_SCORES, long_latencies, yet_another_average_lagging
from leap_fairseq.scoring.segmenters import SEGMENTERS, segmenter_named
from leap_fairseq.scoring.settings import Settings
from leap_fairseq.scoring.units import unit_named

WORDS = unit_named("word")


def part(delays, reference="a b c d", duration=1000.0, rest=math.inf, unit=WORDS):
    words = ["w"] * len(delays)
    return Part(0, unit.join(words), reference, delays, delays, duration, words, unit, in_order=delays, rest=rest)


class TestByHand:
    def test_yaal_goes_on_behind_the_sentence_but_not_behind_the_recording(self):
        lags = [500 - 0, 900 - 250, 1500 - 500, 2500 - 750]
        assert yet_another_average_lagging([500, 900, 1500, 2500], 1000, 4) == sum(lags) / 4
        assert yet_another_average_lagging([500, 900, 1500, 2500], 1000, 4, rest=2500) == sum(lags[:3]) / 3
        assert math.isnan(yet_another_average_lagging([2500], 1000, 4, rest=2500))

    def test_sentences_without_one_are_left_out(self):
        late = part([6000.0], rest=5000.0)
        scores = long_latencies([part([-200.0, 800.0]), part([]), late, part([1.0], duration=0.0)])
        assert scores["LongYAAL"] == (-200 + 800 - 250) / 2
        assert scores["LongLAAL"] == ((-200 + 800 - 250) / 2 + 6000) / 2
        assert all(math.isnan(score) for score in long_latencies([part([])]).values())
        assert tuple(scores) == LONG_SCORES

    def test_spaces_of_a_reference_are_no_characters(self):
        scores = long_latencies([part([0.0, 500.0], reference="a b", unit=unit_named("char"))])
        assert scores["LongAL"] == (0 + 500 - 500) / 2


@pytest.fixture
def talks(tmp_path):
    """A run on three talks, their sentences as a YAML and a text beside it, and simulstream's log of the same."""
    numbers = random.Random(5)
    vocabulary = ["".join(numbers.choices("abcdefgäß", k=numbers.randint(1, 7))) for _ in range(60)]
    segments, references, lines, stream = [], [], [], []
    for talk in range(3):
        end, words, delays = numbers.uniform(0, 2), [], []
        for _ in range(8):
            duration, count = round(numbers.uniform(1, 6), 3), numbers.randint(3, 12)
            reference = numbers.choices(vocabulary, k=count)
            reference = [reference[0].capitalize(), *reference[1:-1], reference[-1] + "."]
            segments.append({"wav": f"ted_{talk}.wav", "offset": round(end, 3), "duration": duration})
            references.append(" ".join(reference))
            for i, word in enumerate(reference):
                if numbers.random() < 0.9:
                    words.append(word if numbers.random() < 0.7 else numbers.choice(vocabulary))
                    time = 1000 * end + 1100 * duration * (i + 1) / count + numbers.choice((-1500, 500))
                    delays.append(max(delays[-1] if delays else 0.0, time // 100 * 100))
            end += duration + numbers.uniform(0, 1)
        stream.append({"id": talk, "metadata": {"wav_name": f"/wavs/ted_{talk}.wav"}})
        elapsed, computed = [], 0.0
        for delay, group in itertools.groupby(zip(delays, words), key=lambda pair: pair[0]):
            written, computing = ["▁" + word for _, word in group], numbers.uniform(0, 900)
            computed += computing
            elapsed += [delay + computed] * len(written)
            times = {"total_audio_processed": delay / 1000, "computation_time": computing / 1000}
            stream.append({"id": talk, **times, "generated_tokens": written, "deleted_tokens": []})
        fields = {"index": talk, "prediction": " ".join(words), "delays": delays, "elapsed": elapsed, "reference": "-"}
        lines.append({**fields, "source": [f"/wavs/ted_{talk}.wav"], "source_length": 1000 * end + 2000})
    write_lines(tmp_path / "instances.log", lines)
    write_lines(tmp_path / "simulstream.jsonl", stream)
    (tmp_path / "segments.yaml").write_text("".join(f"- {json.dumps(segment)}\n" for segment in segments))
    (tmp_path / "segments.de").write_text("\n".join(references) + "\n", encoding="utf-8")
    return tmp_path


def write_lines(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def references_of(talks):
    return references_from(str(talks / "segments.yaml"), None, "de")


class TestAgainstOmniSTEval:
    @pytest.fixture
    def theirs(self, talks):
        """Scores of the talks, and the parts."""
        pytest.importorskip("omnisteval")
        from omnisteval.io import load_resegmentation_inputs
        from omnisteval.resegment import resegment
        from omnisteval.scoring import evaluate_instances

        files = [str(talks / name) for name in ("segments.yaml", "segments.de", "instances.log")]
        given = load_resegmentation_inputs(files[0], None, *files[1:], fix_emission_ca_flag=True)
        instances, parts = resegment(*given, lang="de")
        return evaluate_instances(instances, fix_emission_ca_flag=True)[0], parts

    @staticmethod
    def assert_equal(row, scores):
        names = {"BLEU": "bleu", "chrF": "chrf"}
        for name in LONG_SCORES:
            names.update({name: f"long_{name[4:].lower()}", f"{name}_CA": f"ca_long_{name[4:].lower()}"})
        assert {name: row[name] for name in names} == pytest.approx({name: scores[names[name]] for name in names})

    def test_cut_by_it(self, talks, theirs):
        row = score_log(talks, Settings(language="de"), references_of(talks), "omnisteval")
        self.assert_equal(row, theirs[0])
        assert "segmenter:omnisteval-" in row["signature"]

    def test_its_own_parts(self, talks, theirs):
        write_lines(talks / "parts.jsonl", theirs[1])
        self.assert_equal(score_log(talks / "parts.jsonl", Settings(language="de")), theirs[0])

    def test_our_parts_scored_by_it(self, talks):
        """With the cuts of the default, its scores are ours."""
        pytest.importorskip("omnisteval")
        from omnisteval.data import Instance
        from omnisteval.scoring import evaluate_instances

        references = references_of(talks)
        row, log = score_log(talks, Settings(), references), read_any_log(talks)
        parts = [part for pair in zip(log.instances, references) for part in split_recording(*pair)]
        named = [
            Instance(
                part.prediction, part.reference, "word", i, part.source_length, part.delays, part.in_order, part.rest
            )
            for i, part in enumerate(parts)
        ]
        self.assert_equal(row, evaluate_instances(named)[0])

    def test_control_clamped_delays_differ(self, talks, theirs, monkeypatch):
        scores = long_latency._scores
        monkeypatch.setattr(long_latency, "_scores", lambda part, times: scores(part, [max(0.0, t) for t in times]))
        row = score_log(talks, Settings(language="de"), references_of(talks), "omnisteval")
        assert row["LongLAAL"] > theirs[0]["long_laal"] + 1

    def test_characters(self, talks):
        pytest.importorskip("omnisteval")
        from omnisteval.io import load_resegmentation_inputs
        from omnisteval.resegment import resegment
        from omnisteval.scoring import evaluate_instances

        line = {"source": "a/ted.wav", "prediction": "你好吗大家再见", "delays": [100.0 * i for i in range(3, 10)]}
        write_lines(talks / "chinese.jsonl", [line])
        (talks / "zh.yaml").write_text(
            "[{wav: ted.wav, offset: 0.1, duration: 0.5}, {wav: ted.wav, offset: 0.7, duration: 0.4}]"
        )
        (talks / "zh.zh").write_text("你 好。\n大家再见。\n", encoding="utf-8")
        files = [str(talks / name) for name in ("zh.yaml", "zh.zh", "chinese.jsonl")]
        instances, _ = resegment(
            *load_resegmentation_inputs(files[0], None, *files[1:], char_level=True), char_level=True
        )
        scores = evaluate_instances(instances, bleu_tokenizer="zh")[0]
        settings = Settings(unit_named("char"), "zh", "zh")
        row = score_log(talks / "chinese.jsonl", settings, references_from(files[0], None, "zh"), "omnisteval")
        for name in LONG_SCORES:
            assert row[name] == pytest.approx(scores[f"long_{name[4:].lower()}"]) and math.isnan(row[name + "_CA"])


class TestAgainstSimulstream:
    def test_its_latency_is_long_laal_by_mweralign(self, talks):
        scorers = pytest.importorskip("simulstream.metrics.scorers.latency.stream_laal")
        pytest.importorskip("mweralign")
        from simulstream.metrics.readers import LogReader, YamlReferenceReader
        from simulstream.metrics.scorers.latency import LatencyScoringSample

        config = SimpleNamespace(detokenizer_type="simuleval", latency_unit="spm")
        outputs = LogReader(config, talks / "simulstream.jsonl").final_outputs_and_latencies()
        references = YamlReferenceReader(talks / "segments.yaml", talks / "segments.de").references
        samples = [LatencyScoringSample(name, outputs[name], references[name]) for name in outputs]
        theirs = scorers.StreamLaal(SimpleNamespace(latency_unit="word")).score(samples)
        row = score_log(talks / "simulstream.jsonl", Settings(), references_of(talks), "mweralign")
        assert row["LongLAAL"] == pytest.approx(1000 * theirs.ideal_latency)
        assert row["LongLAAL_CA"] == pytest.approx(1000 * theirs.computational_aware_latency)


class TestSegmenters:
    def test_the_same_translation_in_any_log(self, talks):
        """Of simulstream's log, the plain latencies are those of SimulEval's."""
        of_simuleval, of_simulstream = (
            score_log(talks / name, Settings(), references_of(talks)) for name in ("instances.log", "simulstream.jsonl")
        )
        texts = {name: of_simuleval[name] for name in ("BLEU", "chrF", "sentences", "signature")}
        assert texts == {name: of_simulstream[name] for name in texts}
        plain = ("StreamLAAL", *LONG_SCORES)
        assert [of_simulstream[name] for name in plain] == pytest.approx([of_simuleval[name] for name in plain])
        assert of_simulstream["LongLAAL_CA"] < of_simuleval["LongLAAL_CA"]  # its computing does not hold words up

    @pytest.mark.parametrize("name", SEGMENTERS)
    def test_empty_references_and_recordings(self, name):
        pytest.importorskip(name) if name != "edits" else None
        cut = segmenter_named(name, WORDS).cut
        words = "a b x c".split()
        assert [list(numbers) for numbers in cut(words, [["a", "b"], [], ["c"]])][1] == []
        assert [list(numbers) for numbers in cut([], [["a"], ["b"]])] == [[], []]
        assert [list(numbers) for numbers in cut(words, [[], []])] == [[0, 1, 2, 3], []]
        assert sorted(i for numbers in cut(words, [["a", "b"], ["c"]]) for i in numbers) == [0, 1, 2, 3]

    def test_what_is_missing_or_unknown(self, monkeypatch):
        with pytest.raises(ValueError, match="'soft' is not one of edits, omnisteval, mweralign"):
            segmenter_named("soft", WORDS)
        for name, module in (("omnisteval", "omnisteval.alignment"), ("mweralign", "mweralign")):
            monkeypatch.setitem(sys.modules, module, None)
            with pytest.raises(
                ImportError, match=rf"--segmenter {name} needs .*leap-fairseq\[scoring\].*--segmenter edits"
            ):
                segmenter_named(name, WORDS)
