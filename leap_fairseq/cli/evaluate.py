"""Streams a test set through a wait-k translator with SimulEval, for each policy, and scores it.

    leap-fairseq evaluate MODEL LISTS OUT --waitk-lagging 5 --jobs 4
    leap-fairseq evaluate MODEL LISTS OUT --waitk-lagging 1 3 5 7 --jobs 4
    leap-fairseq evaluate MODEL LISTS OUT --policy confidence --threshold 0.5 0.7 0.9 --jobs 4

MODEL is a folder of leap-fairseq export or a checkpoint; LISTS what leap-fairseq prepare lists wrote, without its
ending (eval/tst-COMMON), and beside them the languages of speech and references. Where both are the same, speech is
recognised, and WER and CER are given. A recording that cannot be translated is left out of the scores, by name
(OUT/left_out.tsv). The list is divided among the jobs. What is complete is not run again: the same command goes on
where an interrupted one stopped. With several values of k, or of another option of a policy, each has its own folder
(OUT/k3, OUT/threshold0.9), and OUT gets a table and a curve.

With --long-form the recordings of LISTS are whole talks (prepare lists --whole-talks), whose sentences are in
LISTS.tsv; scored is what belongs to each sentence, its latency is StreamLAAL.

With --part I/N, jobs on several machines share the recordings of all values: OUT/.parts has what each has translated.

Computation-aware latencies (_CA) mean something only where no other job shares the cores: --jobs 1.
"""

import argparse
import contextlib
import logging
import math
import signal
import sys
from pathlib import Path
from typing import Any, Container, Dict, List, NamedTuple, Optional

from leap_fairseq.cli.evaluation_parts import Plan, others_of, shared
from leap_fairseq.cli.model_options import add_data_options, add_device_option, add_dtype_option
from leap_fairseq.cli.policy_runs import PolicyRun, policy_runs
from leap_fairseq.cli.score import add_scoring_options, print_table, settings_of
from leap_fairseq.files import digest, file_digest
from leap_fairseq.parts import Part, add_part
from leap_fairseq.report.tables import write_json, write_tsv
from leap_fairseq.scoring.languages import read_languages
from leap_fairseq.scoring.long_form import score_long_run
from leap_fairseq.scoring.long_references import read_references, write_without
from leap_fairseq.scoring.quality import require_packages
from leap_fairseq.scoring.run import score_run
from leap_fairseq.scoring.run_folder import DATA, MODEL, heard
from leap_fairseq.scoring.settings import LANGUAGE, SPOKEN, UNIT, Settings, recorded
from leap_fairseq.speech.corpus import read_lines
from leap_fairseq.speech.sound_list import LeftOut, unusable, write_left_out
from leap_fairseq.streaming.policy import Policy, add_policy_options, at_least_one

logger = logging.getLogger(__name__)

TALKS_PER_JOB = 5

SIMULEVAL_DTYPES = {"fp32": [], "fp16": ["--dtype", "fp16"], "bf16": ["--bf16"]}
"""By --dtype, what SimulEval and the agent are told: SimulEval's own --dtype has no bfloat16."""


class Model(NamedTuple):
    """What an evaluation is told of a model.

    Attributes:
        label: the attention of its decoder to the speech.
        facts: digests of its checkpoint and, where they are here, of what it takes from its data.
        policy: that it was trained for.
        segment_ms: speech between two decisions.
    """

    label: str
    facts: Dict[str, str]
    policy: Policy
    segment_ms: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("model", metavar="MODEL", help="exported folder, or checkpoint (.pt)")
    parser.add_argument("lists", metavar="LISTS", help="path of LISTS.wav_list and LISTS.target")
    parser.add_argument("out", metavar="OUT", help="folder for logs and scores")
    group = parser.add_argument_group("policy", "one option may have several values, for a table and a curve")
    add_policy_options(group, several=True)
    text = "LISTS holds recordings of any number of sentences"
    parser.add_argument("--long-form", action="store_true", help=text)
    parser.add_argument("--label", help="name of the line in table and curve (default: the attention)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes at a time")
    add_part(parser, "divide the recordings, and the values of an option, among N jobs")
    text = "speech between two decisions (default: the model's pre-decision)"
    parser.add_argument("--segment-ms", type=at_least_one, metavar="MS", help=text)
    add_scoring_options(parser)
    add_data_options(parser)
    parser.add_argument("--max-len-a", type=float, default=0.0, help="at most a * features + b tokens")
    parser.add_argument("--max-len-b", type=int, default=200, help="at most a * features + b tokens")
    add_device_option(parser)
    add_dtype_option(parser, default="fp32")


def run(options: argparse.Namespace) -> None:
    """Evaluates each policy, and writes the tables and the curve.

    Raises:
        OSError, ValueError: as for :func:`evaluate`, or options of the policy that cannot be.
    """
    # A request to end must reach the jobs too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    logging.getLogger("fairseq").setLevel(logging.WARNING)
    part = None if options.part is None else Part.parse(options.part)
    model = read_model(options.model, options.data_bin, options.config_yaml)
    out = Path(options.out)
    runs = policy_runs(options, model.policy, out)
    if options.long_form:
        read_references(f"{options.lists}.tsv")
    lists = [read_list(Path(f"{options.lists}.{name}")) for name in ("wav_list", "target")]
    for each in runs:
        require_packages(scoring_of(each.folder, options))
    left_out = unusable(lists[0])
    lists = [[line for number, line in enumerate(lines) if number not in left_out] for lines in lists]
    model = model._replace(facts={**model.facts, **heard(lists[0])})
    plans = [plan(options, model, lists, each) for each in runs]
    with shared(part, plans, lists, out, options.jobs) as is_last:
        if is_last:
            report(options, [evaluate(options, each, lists, left_out) for each in plans], lists, left_out)


def report(options: argparse.Namespace, rows: List[Dict[str, Any]], lists: List[List[str]], left_out: LeftOut) -> None:
    """Writes the tables and the curve."""
    out = Path(options.out)
    if left_out:
        count = f"{len(left_out)} of {len(left_out) + len(lists[0])} recordings"
        logger.warning("%s were left out of the scores, listed in %s", count, write_left_out(left_out, out))
    write_tsv(rows, out / "table.tsv")
    write_json(rows, out / "table.json")
    print_table(rows)
    latency = "StreamLAAL" if options.long_form else "LAAL"
    drawn = [row for row in rows if not math.isnan(row[latency])]  # of a policy that wrote anything
    if len(drawn) > 1:
        from leap_fairseq.report.quality_latency import plot_quality_latency

        quality = "WER" if "WER" in drawn[0] else "BLEU"
        plot_quality_latency(drawn, out / "quality_latency.png", quality, latency, group="model")


def scoring_of(out: Path, options: argparse.Namespace) -> Settings:
    """How a run is scored, as the options, its folder and the lists say, in this order.

    Raises:
        FileNotFoundError, ValueError: as for :func:`leap_fairseq.scoring.settings.settings_for`, or the note of the
            lists' languages is damaged.
    """
    found, noted = recorded(out), read_languages(options.lists)
    src_lang = options.src_lang or found.get(SPOKEN) or noted.src_lang
    tgt_lang = options.tgt_lang or found.get(LANGUAGE) or noted.tgt_lang
    return settings_of(out, argparse.Namespace(**{**vars(options), "src_lang": src_lang, "tgt_lang": tgt_lang}))


def read_model(path: str, data_bin: Optional[str] = None, config_yaml: Optional[str] = None) -> Model:
    """Reads what decides an evaluation from an exported folder or a checkpoint, and its data.

    Raises:
        FileNotFoundError, ValueError: as for :func:`leap_fairseq.models.translator_checkpoint.read_checkpoint`.
    """
    from leap_fairseq.models.translator_checkpoint import checkpoint_file, files_of_data, read_checkpoint
    from leap_fairseq.streaming.frames import FRAME_MS

    state, policy = read_checkpoint(path)
    label = str(state["cfg"]["model"].decoder_cross_attention)
    facts = {MODEL: file_digest(checkpoint_file(path))}
    # Without them nothing can be translated, which SimulEval will say, but what is complete can be scored.
    with contextlib.suppress(OSError, ValueError):
        files = files_of_data(path, state["cfg"]["task"], data_bin, config_yaml)
        facts[DATA] = digest([file_digest(file) for file in files])
    return Model(label, facts, policy, policy.decision_frames * FRAME_MS)


def read_list(path: Path) -> List[str]:
    """The lines of a list, empty ones too.

    Raises:
        FileNotFoundError: there is none.
        DataError: it is no text.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: LISTS is what leap-fairseq prepare lists wrote, without ending")
    return read_lines(path)


def plan(options: argparse.Namespace, model: Model, lists: List[List[str]], policy: PolicyRun) -> Plan:
    """How one policy is run on lists of recordings and references.

    Raises:
        OSError, ValueError: as for :func:`scoring_of`, or the references do not fit how they are scored.
    """
    from leap_fairseq.agents.evaluation import SENTENCES_PER_JOB, simuleval_command

    scoring = scoring_of(policy.folder, options)
    scoring.check_references(lists[1], f"{options.lists}.target")
    settings = {
        **policy.flags("test-"),
        "--source-segment-size": options.segment_ms or model.segment_ms,
        UNIT: scoring.unit.name,
        "--max-len-a": options.max_len_a,
        "--max-len-b": options.max_len_b,
    }
    facts = {**settings, "--dtype": options.dtype, **model.facts}
    if options.long_form:
        facts["--long-form"] = True
    command = [*simuleval_command(), "--agent-class", "leap_fairseq.agents.WaitkAgent", "--no-scoring"]
    command += ["--no-progress-bar", "--model-path", options.model, "--device", options.device]
    command += ["--long-form"] if options.long_form else []
    command += [*SIMULEVAL_DTYPES[options.dtype], *(str(word) for pair in settings.items() for word in pair)]
    for name, value in (("--data-bin", options.data_bin), ("--config-yaml", options.config_yaml)):
        command += [name, value] if value else []
    if scoring.spm_model:
        command += ["--eval-latency-spm-model", scoring.spm_model]
    most = TALKS_PER_JOB if options.long_form else SENTENCES_PER_JOB
    columns = {"model": options.label or model.label, **policy.columns}
    return Plan(policy.folder, command, facts, scoring.notes(), most, columns)


def evaluate(
    options: argparse.Namespace, planned: Plan, lists: List[List[str]], left_out: Container[int] = ()
) -> Dict[str, Any]:
    """Runs and scores what was planned; returns its row.

    Args:
        left_out: numbers of recordings that are no longer in the lists.

    Raises:
        OSError, ValueError: as for :class:`leap_fairseq.agents.evaluation.Evaluation` and the scores.
    """
    from leap_fairseq.agents.evaluation import Evaluation

    out = planned.folder
    evaluation = Evaluation(out, *lists, planned.facts, planned.notes)
    evaluation.run(planned.command, options.jobs, planned.most, others=others_of(planned, Path(options.out)))
    # Once more: the folder is complete, and says of how many sentences.
    scoring = scoring_of(out, options)
    if options.long_form:
        references = Path(f"{options.lists}.tsv")
        references = write_without(references, left_out, out / references.name) if left_out else references
        scores = score_long_run(out, references, scoring)
    else:
        scores = score_run(out, scoring)
    return {**planned.columns, **scores}
