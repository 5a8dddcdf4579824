"""Real English text that every Python carries, split for language modelling: the reference manual in pydoc_data.

    python data_prep/make_pydoc_text.py OUT

writes OUT/{train,valid,test}.txt: one paragraph a line, words and punctuation separated by spaces, whole topics in
one split. The text differs a little between versions of Python, so OUT/source.txt names the one it came from.
"""

import argparse
import platform
import re
from pathlib import Path
from typing import Dict, Iterator, List

TOKEN = re.compile(r"\w+|[^\w\s]")
# Every twentieth topic of the sorted list is for validation, and every twentieth for the test.
PERIOD, VALID, TEST = 20, 9, 19


def paragraphs(topic: str) -> Iterator[str]:
    """The paragraphs of a topic, tokenised.

    Args:
        topic: text with blank lines between paragraphs.

    Yields:
        Tokens separated by single spaces, never empty.
    """
    for block in re.split(r"\n\s*\n", topic):
        tokens = TOKEN.findall(block)
        if tokens:
            yield " ".join(tokens)


def split_topics(topics: Dict[str, str]) -> Dict[str, List[str]]:
    """Distributes topics over the splits.

    Args:
        topics: name to text; texts that occur under several names count once.

    Returns:
        Lines of "train", "valid" and "test".
    """
    splits: Dict[str, List[str]] = {"train": [], "valid": [], "test": []}
    unique = sorted(set(topics.values()))
    for index, topic in enumerate(unique):
        name = {VALID: "valid", TEST: "test"}.get(index % PERIOD, "train")
        splits[name].extend(paragraphs(topic))
    return splits


def make_pydoc_text(out: Path) -> Dict[str, int]:
    """Writes the splits.

    Args:
        out: folder, made where missing.

    Returns:
        Tokens of each split.
    """
    from pydoc_data.topics import topics

    out.mkdir(parents=True, exist_ok=True)
    counts = {}
    for name, lines in split_topics(topics).items():
        temporary = out / f".{name}.txt.part"
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
        temporary.replace(out / f"{name}.txt")
        counts[name] = sum(line.count(" ") + 1 for line in lines)
    source = f"pydoc_data.topics of Python {platform.python_version()} (PSF licence)"
    (out / "source.txt").write_text(source + "\n", encoding="utf-8")
    return counts


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("out", type=Path, help="folder of train.txt, valid.txt and test.txt")
    for name, count in make_pydoc_text(parser.parse_args().out).items():
        print(f"{name}: {count:,} tokens")


if __name__ == "__main__":
    main()
