"""Stand-in data of Long-Range Arena: the right form, tiny, with something to learn."""

import json

import numpy as np

from leap_fairseq.lra import SPLITS, TASKS

SIZES = {"train": 20, "valid": 11, "test": 13}
VOCABULARY = {"listops": 18, "text": 257, "retrieval": 257, "image": 257, "pathfinder": 257}
CLASSES = {"listops": 10, "text": 2, "retrieval": 2, "image": 10, "pathfinder": 2}


def write_lra(folder, task, max_length=40, sizes=None, seed=0):
    """Writes a folder as `prepare lra` does; the label is the number of a sequence's most frequent of a few tokens.

    Args:
        folder: made if needed.
        task: one of the five.
        max_length: of the sequences; those of images have it, the others at least a quarter of it.
        sizes: samples of each split.
        seed: of the random numbers.
    """
    assert task in TASKS
    folder.mkdir(parents=True, exist_ok=True)
    rng, sizes = np.random.default_rng(seed), sizes or SIZES
    sides = ("", "2") if task == "retrieval" else ("",)
    for split in SPLITS:
        labels = rng.integers(CLASSES[task], size=sizes[split])
        np.save(folder / f"{split}.labels.npy", labels.astype(np.int64))
        for side in sides:
            least = max_length if task in ("image", "pathfinder") else max(1, max_length // 4)
            lengths = rng.integers(least, max_length + 1, size=sizes[split])
            tokens = rng.integers(1, VOCABULARY[task], size=int(lengths.sum()))
            tokens = np.where(rng.random(len(tokens)) < 0.3, np.repeat(labels, lengths) + 1, tokens)
            kind = np.uint8 if VOCABULARY[task] <= 256 else np.uint16
            np.save(folder / f"{split}.tokens{side}.npy", tokens.astype(kind))
            np.save(folder / f"{split}.offsets{side}.npy", np.concatenate(([0], lengths.cumsum())).astype(np.int64))
    facts = {
        "task": task,
        "vocab_size": VOCABULARY[task],
        "num_classes": CLASSES[task],
        "max_length": max_length,
        "pairs": task == "retrieval",
        "splits": sizes,
        "options": {},
    }
    (folder / "lra.json").write_text(json.dumps(facts), encoding="utf-8")
    return folder
