"""Real text for language modelling, from the standard library."""

from leap_fairseq.prepare.pydoc_text import make_pydoc_text, paragraphs, split_topics


def test_paragraphs_are_tokenised_and_nothing_is_lost():
    topic = 'Boolean "and"\n*****\n\n   x and  y\n\n\n\nlast_line: f(x)=1.5\n'
    lines = list(paragraphs(topic))
    assert lines == ['Boolean " and " * * * * *', "x and y", "last_line : f ( x ) = 1 . 5"]
    assert "".join(lines).replace(" ", "") == "".join(topic.split())


def test_topics_lie_in_one_split_and_count_once():
    topics = {f"name{i}": f"text number {i:03d}" for i in range(100)}
    topics["alias"] = topics["name7"]
    splits = split_topics(topics)
    assert [len(splits[name]) for name in ("train", "valid", "test")] == [90, 5, 5]
    lines = sum(splits.values(), [])
    assert len(set(lines)) == len(lines) == 100


def test_files_are_the_same_each_time(tmp_path):
    counts = make_pydoc_text(tmp_path / "a")
    make_pydoc_text(tmp_path / "b")
    assert counts["train"] > 20 * counts["valid"] > 0 < counts["test"]
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["source.txt", "test.txt", "train.txt", "valid.txt"]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    for name in ("train", "valid", "test"):
        assert len((tmp_path / "a" / f"{name}.txt").read_text(encoding="utf-8").split()) == counts[name]
