"""ListOps: what the grammar draws is right by a second evaluator, balanced, never there twice, always the same."""

import json
import statistics
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from leap_fairseq.lra import SPLITS, DataError, LraSplit, listops, listops_machine
from leap_fairseq.lra.data_set import REPORT
from leap_fairseq.lra.listops import prep_listops, table
from leap_fairseq.lra.listops_files import prep_listops_files
from leap_fairseq.lra.listops_grammar import CODES, END, OPERATOR_CODES, VOCABULARY, Grower, Limits
from leap_fairseq.lra.listops_machine import evaluate
from leap_fairseq.prepare.choices import Choices

NYU = Path(__file__).parents[3] / "shared/data/lra/listops-nyu"
needs_nyu = pytest.mark.skipif(not NYU.is_dir(), reason="needs ../shared/data/lra/listops-nyu")
SHORT = Limits(5, 60, 6, 5)
SIZES = {"train": 120, "valid": 43, "test": 30}


def as_text(tokens):
    """The usual notation without parentheses, for example `[MAX 4 3 [MIN 2 3 ] ]`."""
    return " ".join(VOCABULARY[token] for token in tokens)


def draw(count, limits, seed=1):
    grower = Grower(Choices(seed), limits)
    found = []
    while len(found) < count:
        expression = grower.draw()
        if expression is not None:
            found.append(expression)
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("listops") / "made"
    prep_listops(out, SIZES, SHORT)
    return out


@pytest.mark.parametrize(
    "text, value",
    [
        ("7", 7),
        ("[MAX 4 3 [MIN 2 3 ] 1 0 [MED 1 5 8 9 2 ] ]", 5),
        ("[MAX 2 9 [MIN 4 7 ] 0 ]", 9),
        ("[SM 9 8 7 ]", 4),
        ("[MED 1 2 ]", 1),
        ("[MED 9 8 0 1 ]", 4),
        ("[MED 3 9 3 ]", 3),
        ("[FIRST 8 1 [LAST 2 6 ] ]", 8),
        ("[LAST 8 1 [LAST 2 6 ] ]", 6),
        ("( ( ( ( [MAX 2 ) 9 ) ( ( ( [MIN 4 ) 7 ) ] ) ) ] )", 9),
    ],
)
def test_values_by_hand(text, value):
    assert evaluate(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "]", "[MAX", "[MAX 1", "[MAX ]", "1 2", "[MAX 1 ] ]", "[MAX 1 ] 2", "[SUM 1 2 ]", "MAX 1 2 ]", "[MAX 10 1 ]"]
    + ["( [MAX 1 ]", ") [MAX 1 ] (", "[MAX x ]", "[MAX [ ]", "[ 1 ]", "[MAX -1 2 ]", "[MAX ² 1 ]"],
)
def test_what_is_no_expression_is_refused(text):
    with pytest.raises(DataError):
        evaluate(text)


def check_labels(lists):
    return sum(evaluate(as_text(found.tokens)) != found.label for found in lists)


def test_labels_are_the_values():
    lists = draw(2_000, Limits(2, 400))
    assert check_labels(lists) == 0
    assert {token for found in lists for token in found.tokens} == set(range(1, CODES["[SM"] + 1))


@pytest.mark.slow
@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.exhaustive)])
def test_labels_of_long_lists_are_the_values(count):
    assert check_labels(draw(count, Limits())) == 0


@pytest.mark.parametrize(
    "name, broken",
    [
        ("MED", lambda values: round(statistics.median(values) + 0.1)),
        ("SM", sum),
        ("MIN", max),
        ("MAX", lambda values: values[-1]),
    ],
)
def test_a_wrong_evaluator_is_found(name, broken, monkeypatch):
    """The control: 200 lists are enough to see that an operator is wrong."""
    right = listops_machine._apply
    wrong = lambda operator, values: broken(values) if operator == name else right(operator, values)  # noqa: E731
    monkeypatch.setattr(listops_machine, "_apply", wrong)
    assert check_labels(draw(200, Limits(2, 400))) > 0


def read_nyu(every):
    lines = [line for path in sorted(NYU.glob("*.tsv")) for line in path.read_text().splitlines()]
    assert len(lines) == 50_000
    return [(int(label), text) for label, text in (line.split("\t") for line in lines[::every])]


@needs_nyu
def test_a_tenth_of_the_lists_of_nangia_and_bowman():
    assert sum(evaluate(text) != label for label, text in read_nyu(10)) == 0


@needs_nyu
@pytest.mark.slow
def test_all_lists_of_nangia_and_bowman():
    assert sum(evaluate(text) != label for label, text in read_nyu(1)) == 0


def test_lists_keep_the_limits():
    limits = Limits(10, 80, 5, 4)
    for found in draw(500, limits):
        depth = deepest = 0
        args = []
        for token in found.tokens:
            if args and token != END:
                args[-1] += 1
            if token in OPERATOR_CODES:
                depth += 1
                args.append(0)
                deepest = max(deepest, depth)
            elif token == END:
                depth -= 1
                assert 2 <= args.pop() <= limits.max_args
        assert limits.min_length < len(found.tokens) < limits.max_length
        assert depth == 0 and found.depth == deepest <= limits.max_depth - 1


def test_the_grammar_has_the_published_chances():
    """A root is an operator in a quarter of all draws; operators, digits and numbers of arguments are uniform."""
    flat = [found.tokens for found in draw(20_000, Limits(0, 2000, 2))]
    lists = [tokens for tokens in flat if len(tokens) > 1]
    assert abs(len(lists) / len(flat) - 0.25) < 0.015
    operators, lengths = Counter(tokens[0] for tokens in lists), Counter(len(tokens) - 2 for tokens in lists)
    digits = Counter(token for tokens in lists for token in tokens[1:-1])
    for counts, kinds in ((operators, OPERATOR_CODES), (lengths, range(2, 11)), (digits, range(1, 11))):
        assert set(counts) == set(kinds)
        for count in counts.values():
            assert abs(count * len(kinds) / sum(counts.values()) - 1) < 0.2


def test_splits_are_balanced_and_share_nothing(made):
    seen = []
    for split in SPLITS:
        data = LraSplit(made, split)
        counts = np.bincount(data.labels, minlength=10)
        assert counts.sum() == SIZES[split] and counts.max() - counts.min() <= 1
        assert not (np.diff(data.labels) >= 0).all()
        for tokens, label in data:
            assert evaluate(" ".join(VOCABULARY[token] for token in tokens)) == label
            seen.append(bytes(tokens))
    assert len(set(seen)) == len(seen) == sum(SIZES.values())


def test_report_tells_what_is_there(made):
    report = json.loads((made / REPORT).read_text())
    for split in SPLITS:
        data = LraSplit(made, split)
        of_split = report[split]
        assert of_split["lists"] == len(data) == sum(of_split["depths"].values())
        assert list(of_split["labels"].values()) == np.bincount(data.labels, minlength=10).tolist()
        assert of_split["lengths"]["mean"] == round(data.lengths.mean(), 1)
        quartiles = of_split["lengths"]["quartiles"]
        assert (quartiles[0], quartiles[-1]) == (data.lengths.min(), data.lengths.max())
    assert len(table(report).splitlines()) == 4 and "10.0" in table(report)


def test_four_processes_make_the_same_bytes(made, tmp_path, hashes):
    prep_listops(tmp_path / "made", SIZES, SHORT, processes=4)
    assert hashes(tmp_path / "made") == hashes(made)


def test_another_seed_makes_other_lists(made, tmp_path):
    prep_listops(tmp_path / "made", SIZES, SHORT, seed=2)
    lists = [{bytes(tokens) for tokens, _ in LraSplit(folder, "train")} for folder in (made, tmp_path / "made")]
    assert len(lists[0] & lists[1]) < 20


def test_lists_as_drawn_are_not_balanced(tmp_path):
    prep_listops(tmp_path / "made", {"train": 400, "valid": 1, "test": 1}, Limits(20, 120), labels="drawn")
    counts = np.bincount(LraSplit(tmp_path / "made", "train").labels, minlength=10)
    assert counts[0] + counts[9] > 0.25 * 400


@pytest.mark.parametrize(
    "options, message",
    [
        ({"sizes": {"train": 5, "valid": 0, "test": 5}}, "--sizes gives valid 0"),
        ({"limits": Limits(50, 50)}, "--lengths 50 50 leave no length"),
        ({"limits": Limits(50, 51)}, "--lengths 50 51 leave no length"),
        ({"limits": Limits(-1, 51)}, "--lengths -1 51"),
        ({"limits": Limits(max_depth=1)}, "--max-depth 1"),
        ({"limits": Limits(max_args=1)}, "--max-args 1"),
        ({"labels": "even"}, "--labels is 'even'"),
        ({"processes": 0}, "number of processes is 0"),
    ],
)
def test_impossible_options_are_refused(options, message, tmp_path):
    with pytest.raises(DataError, match=message):
        prep_listops(tmp_path / "made", **{"sizes": SIZES, "limits": SHORT, **options})
    assert not (tmp_path / "made" / "lra.json").exists()


def test_lists_that_do_not_exist_are_not_sought_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(listops, "PATIENCE", 3)
    with pytest.raises(DataError, match=r"'train': [1-9].*ask for fewer"):
        prep_listops(tmp_path / "made", {"train": 90, "valid": 1, "test": 1}, Limits(0, 3))


def in_binary_notation(text):
    """With the parentheses of both sources: an operator is applied to one argument after the other."""
    stack = [[]]
    for word in text.split():
        if word.startswith("["):
            stack.append([word])
            continue
        if word == "]":
            head, *args = stack.pop()
            for arg in args:
                head = f"( {head} {arg} )"
            word = f"( {head} ] )"
        stack[-1].append(word)
    return stack[0][0]


def write_tsv(path, lists, form):
    texts = [in_binary_notation(as_text(found.tokens)) for found in lists]
    if form == "published":
        rows = ["Source\tTarget", *(f"{text}\t{found.label}" for text, found in zip(texts, lists))]
    else:
        rows = [f"{found.label}\t{text}" for text, found in zip(texts, lists)]
    path.write_text("\n".join(rows) + "\n")


def test_published_files_keep_their_splits(tmp_path):
    lists = {split: draw(30 + number, SHORT, seed=number) for number, split in enumerate(SPLITS)}
    for name, split in (("train", "train"), ("val", "valid"), ("test", "test")):
        write_tsv(tmp_path / f"basic_{name}.tsv", lists[split], "published")
    prep_listops_files(tmp_path / "out", tmp_path)
    seen = set()
    for split in SPLITS:
        new = {found.tokens: found.label for found in lists[split] if found.tokens not in seen}
        data = LraSplit(tmp_path / "out", split)
        assert [(bytes(tokens), label) for tokens, label in data] == list(new.items())
        seen |= set(new)


@pytest.mark.parametrize("names", [("test_d20.tsv",), ("train_d20.tsv", "test_d20.tsv")])
def test_other_files_are_divided(names, tmp_path):
    lists = draw(200, SHORT)
    halves = [lists] if len(names) == 1 else [lists[:150], lists[150:]]
    for name, half in zip(names, halves):
        write_tsv(tmp_path / name, half, "nyu")
    facts = prep_listops_files(tmp_path / "out", tmp_path, lengths=(7, 50), valid=0.2, test=0.3)
    found = {split: {bytes(tokens) for tokens, _ in LraSplit(tmp_path / "out", split)} for split in SPLITS}
    wanted = {found.tokens for found in lists if 7 < len(found.tokens) < 50}
    assert set.union(*found.values()) == wanted and sum(facts.splits.values()) == len(wanted)
    if len(names) == 2:
        assert found["test"] == {x.tokens for x in halves[1]} & wanted - {x.tokens for x in halves[0]}


@pytest.mark.parametrize("options, split", [({"lengths": (500, 2000)}, "train"), ({"valid": 0.0}, "valid")])
def test_a_split_without_lists_is_named(options, split, tmp_path):
    write_tsv(tmp_path / "test_d20.tsv", draw(200, SHORT), "nyu")
    with pytest.raises(DataError, match=f"{split} would have no list .* tokens: give other --lengths"):
        prep_listops_files(tmp_path / "out", tmp_path, **options)


@pytest.mark.parametrize(
    "line, message",
    [
        ("3\t[MAX 1 2 ]", r"test_x.tsv:3 has the label 3, but the value of its expression is 2"),
        ("3\t[MAX 1 2", r"test_x.tsv:3: .*not one whole expression"),
        ("\u00b3\t[MAX 1 3 ]", r"test_x.tsv:3 is .*, but must be a label, a tab"),
        ("[MAX 1 2 ]", r"test_x.tsv:3 is '\[MAX 1 2 \]', but must be a label, a tab"),
        ("", r"test_x.tsv:3"),
    ],
)
def test_a_wrong_line_is_named(line, message, tmp_path):
    (tmp_path / "test_x.tsv").write_text(f"2\t[MAX 1 2 ]\n4\t[MAX 1 4 ]\n{line}\n5\t[MAX 1 5 ]\n")
    with pytest.raises(DataError, match=message):
        prep_listops_files(tmp_path / "out", tmp_path)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(DataError, match="no .tsv.*lra_release"):
        prep_listops_files(tmp_path / "out", tmp_path)
    write_tsv(tmp_path / "basic_train.tsv", draw(3, SHORT), "published")
    with pytest.raises(DataError, match="basic_val, basic_test is missing"):
        prep_listops_files(tmp_path / "out", tmp_path)
