"""Stand-ins for what the documents expect in data/: the layouts of the real data, with a few examples each."""

import tarfile
import zipfile

import numpy as np
import soundfile
import torch
from fake_corpora import write_covost, write_europarl_st, write_mtedx, write_mustc

ARTICLE = '<doc id="{n}" url="https://example.org/{n}" title="Title {n}">\nTitle {n}\n\n{text}\n\n</doc>\n'


def prose(seed, paragraphs=30):
    """Lines of some 60 words each."""
    rng = np.random.default_rng(seed)
    words = [f"word{number}" for number in range(40)]
    return [" ".join(rng.choice(words, size=60)) + " ." for _ in range(paragraphs)]


def write_texts(data):
    """WikiText in a zip and in files, and the output of WikiExtractor."""
    data.mkdir(parents=True)
    texts = {split: "\n".join(prose(seed)) + "\n" for seed, split in enumerate(("train", "valid", "test"))}
    with zipfile.ZipFile(data / "wikitext-103-v1.zip", "w") as archive:
        for split, text in texts.items():
            archive.writestr(f"wikitext-103/wiki.{split}.tokens", text)
    for name, split in (("wikitext-2.train", "train"), ("wikitext-103.valid", "valid"), ("wikitext-103.test", "test")):
        (data / f"{name}.txt").write_text(texts[split], encoding="utf-8")
    articles = [ARTICLE.format(n=number, text=text) for number, text in enumerate(prose(3))]
    (data / "enwiki-extracted.txt").write_text("".join(articles), encoding="utf-8")


def write_speech(data):
    """MuST-C, mTEDx, Europarl-ST, CoVoST 2 and the Free Spoken Digit Dataset."""
    write_mustc(data / "must-c")
    write_mtedx(data / "mtedx")
    write_europarl_st(data / "europarl-st")
    write_covost(data / "covost", "fr", "en")
    recordings = data / "recordings"
    recordings.mkdir()
    time = np.arange(2000) / 8000
    for number, speaker in enumerate(("george", "jackson", "theo", "yweweler")):
        for digit in range(10):
            tone = 0.1 * np.sin(2 * np.pi * (300 + 100 * digit + 20 * number) * time)
            for index in range(7):
                soundfile.write(recordings / f"{digit}_{speaker}_{index}.wav", tone, 8000, subtype="PCM_16")


def pack(folder, path):
    """Makes a folder a tar."""
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, folder.name)


def write_lra_sources(data):
    """Reviews, pairs of papers and CIFAR-10."""
    rng = np.random.default_rng(0)
    reviews = data / "aclImdb"
    for split in ("train", "test"):
        for label in ("pos", "neg"):
            (reviews / split / label).mkdir(parents=True)
            for number in range(10):
                text = " ".join(prose(number, paragraphs=1))
                (reviews / split / label / f"{number}_7.txt").write_text(f"{label} {text}", encoding="utf-8")
    pack(reviews, data / "aclImdb_v1.tar.gz")
    pairs = data / "lra_release/tsv_data"
    pairs.mkdir(parents=True)
    for split in ("train", "eval", "test"):
        lines = [f"{number % 2}\t{number}\t{number + 1}\tb'one paper'\tb'another'\n" for number in range(10)]
        (pairs / f"new_aan_pairs.{split}.tsv").write_text("".join(lines), encoding="utf-8")
    images = data / "cifar-10-batches-bin"
    images.mkdir()
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        records = rng.integers(0, 256, size=(20, 1 + 3 * 32 * 32), dtype=np.uint8)
        records[:, 0] = np.arange(20) % 10
        (images / f"{name}.bin").write_bytes(records.tobytes())
    pack(images, data / "cifar-10-binary.tar.gz")


def as_official(state):
    """A checkpoint of our language model as the authors' fork would have saved it."""
    ours = ("decoder_self_attention", "leap_factor", "normalizer_floor", "attention_half_life")
    options = {name: value for name, value in dict(state["cfg"]["model"]).items() if name not in ours}
    options.update(_name="transformer_lm", dec_leapformer_enable=True, leap_factor=4)
    weights = {name: value for name, value in state["model"].items() if "crc32" not in name}
    official = {**state, "model": {**weights, "decoder.version": torch.tensor([3.0])}}
    official["cfg"] = {**dict(state["cfg"]), "model": options}
    return official
