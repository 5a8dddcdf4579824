"""Text, retrieval and image of Long-Range Arena, read from stand-ins of the real data's form."""

import io
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from leap_fairseq.lra import SPLITS, DataError, LraSplit
from leap_fairseq.lra.division import divide
from leap_fairseq.lra.images import RECORD, as_grey, prep_images
from leap_fairseq.lra.retrieval import NAMES, prep_retrieval
from leap_fairseq.lra.text import prep_text
from leap_fairseq.prepare.sources import files_of

REVIEWS = Path(__file__).parents[3] / "shared/data/lra/movie_reviews/movie_reviews.zip"


def contents(folder, split):
    """Examples as (bytes, label); of pairs, as (bytes, bytes, label)."""
    data = LraSplit(folder, split)
    sides = (lambda tokens: tokens) if data.facts.pairs else (lambda tokens: (tokens,))
    return [(*(bytes((side - 1).astype(np.uint8)) for side in sides(tokens)), label) for tokens, label in data]


def write_reviews(folder, splits=("train", "test"), count=20):
    rng = np.random.default_rng(1)
    for split in splits:
        for label in ("pos", "neg", "unsup"):
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                review = rng.integers(0, 256, size=rng.integers(1, 60), dtype=np.uint8).tobytes()
                (folder / split / label / f"{number}_7.txt").write_bytes(review)
    (folder / "README.txt").write_text("pos neg")
    return folder


def reviews_of(folder, label, length=50):
    return Counter((path.read_bytes()[:length], int(label == "pos")) for path in folder.glob(f"{label}/*.txt"))


def test_reviews_with_a_test_set(tmp_path):
    source = write_reviews(tmp_path / "aclImdb")
    facts = prep_text(tmp_path / "out", source, max_length=50, valid=0.1)
    assert facts.splits == {"train": 36, "valid": 4, "test": 40} and facts.vocab_size == 257 and facts.num_classes == 2
    found = {split: Counter(contents(tmp_path / "out", split)) for split in SPLITS}
    for split, of_split in (("train", found["train"] + found["valid"]), ("test", found["test"])):
        assert of_split == reviews_of(source / split, "pos") + reviews_of(source / split, "neg")
    assert LraSplit(tmp_path / "out", "valid").labels.sum() == 2
    assert max(LraSplit(tmp_path / "out", "train").lengths) == 50


def test_published_division_validates_on_the_test(tmp_path, caplog):
    facts = prep_text(tmp_path / "out", write_reviews(tmp_path / "aclImdb"), valid=0)
    assert facts.splits == {"train": 40, "valid": 40, "test": 40}
    assert contents(tmp_path / "out", "valid") == contents(tmp_path / "out", "test")
    assert "choose no checkpoint by it" in caplog.text and "not the {'train': 25000" in caplog.text


def test_reviews_without_a_test_set_are_divided_class_by_class(tmp_path):
    source = write_reviews(tmp_path / "reviews", splits=("",))
    facts = prep_text(tmp_path / "out", source, valid=0.1, test=0.2)
    assert facts.splits == {"train": 28, "valid": 4, "test": 8}
    found = [contents(tmp_path / "out", split) for split in SPLITS]
    assert [sum(label for _, label in of_split) for of_split in found] == [14, 2, 4]
    everything = reviews_of(source, "pos", 60) + reviews_of(source, "neg", 60)
    assert Counter(sum(found, [])) == everything
    labels = [label for _, label in found[0]]
    assert labels != sorted(labels)


def as_zip(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*"), reverse=True):
            archive.write(file, file.relative_to(folder.parent).as_posix())
    return path


def as_tar(folder, path):
    with tarfile.open(path, "w:gz") as archive:
        for file in sorted(folder.rglob("*"), reverse=True):
            if file.is_file():
                archive.add(file, file.relative_to(folder.parent).as_posix())
    return path


@pytest.mark.parametrize("pack", [as_zip, as_tar])
def test_archives_give_the_same_bytes(pack, tmp_path, hashes):
    source = write_reviews(tmp_path / "aclImdb")
    prep_text(tmp_path / "folder", source)
    prep_text(tmp_path / "archive", pack(source, tmp_path / "packed"))
    assert hashes(tmp_path / "folder") == hashes(tmp_path / "archive")


def remove(part):
    def change(source):
        for path in (source / part).glob("*.txt"):
            path.unlink()

    return change


def empty(source):
    (source / "train" / "pos" / "3_7.txt").write_bytes(b"")


def twice(source):
    write_reviews(source / "again")


def mixed(source):
    write_reviews(source / "other", splits=("",), count=2)


@pytest.mark.parametrize(
    "change, message",
    [
        (remove("train/pos"), "no train/pos/.*aclImdb_v1.tar.gz"),
        (remove("test/neg"), "no test/neg/"),
        (empty, "3_7.txt in .* is empty"),
        (twice, "has both .*give the folder of one data set"),
        (mixed, "within train and test and others without"),
    ],
)
def test_incomplete_reviews_are_refused(change, message, tmp_path):
    source = write_reviews(tmp_path / "aclImdb")
    change(source)
    with pytest.raises(DataError, match=message):
        prep_text(tmp_path / "out", source)
    assert not (tmp_path / "out" / "lra.json").exists()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"max_length": 0}, "--max-length is 0"),
        ({"valid": 0}, "--valid 0 and --test 0.1 must be above 0"),
        ({"valid": 0.5, "test": 0.5}, r"\(--valid, --test\) is 0.5, 0.5, but must be 0 or more and together below 1"),
        ({"valid": float("nan")}, "nan, 0.1, but must be 0 or more"),
        ({"valid": 0.49, "test": 0.5}, r"class 0 has too few .* hold out less \(--valid, --test\)"),
    ],
)
def test_impossible_options_are_refused(options, message, tmp_path):
    with pytest.raises(DataError, match=message):
        prep_text(tmp_path / "out", write_reviews(tmp_path / "reviews", splits=("",)), **options)


def test_missing_and_damaged_sources_are_named(tmp_path):
    with pytest.raises(DataError, match="nothing does not exist"):
        prep_text(tmp_path / "out", tmp_path / "nothing")
    (tmp_path / "damaged").write_bytes(b"no archive")
    with pytest.raises(DataError, match="cannot read .*damaged"):
        prep_text(tmp_path / "out", tmp_path / "damaged")


@pytest.mark.skipif(not REVIEWS.is_file(), reason="needs ../shared/data/lra/movie_reviews")
def test_real_reviews(tmp_path):
    facts = prep_text(tmp_path / "out", REVIEWS)
    assert facts.splits == {"train": 1600, "valid": 200, "test": 200}
    found = {content: label for split in SPLITS for content, label in contents(tmp_path / "out", split)}
    assert len(found) == 2000 and sum(found.values()) == 1000
    wanted = {file.content[:4000]: int(file.groups["label"] == "pos") for file in files_of(REVIEWS, TEXTS)}
    assert found == wanted


TEXTS = r"(?P<label>pos|neg)/cv[^/]+\.txt"


def test_division_is_stratified_and_seeded():
    labels = [0] * 50 + [1] * 30 + [2] * 3
    parts = divide(labels, (0.1, 0.2), seed=1)
    assert sorted(sum(parts, [])) == list(range(83))
    assert [Counter(labels[i] for i in part) for part in parts[1:]] == [{0: 5, 1: 3, 2: 1}, {0: 10, 1: 6, 2: 1}]
    assert divide(labels, (0.1, 0.2), seed=1) == parts != divide(labels, (0.1, 0.2), seed=2)
    assert divide(labels, (0.0,), seed=1)[1] == []


def write_pairs(folder, count=12, label="{}.0"):
    folder.mkdir(parents=True)
    rng, rows = np.random.default_rng(1), {}
    for split, name in NAMES.items():
        rows[split] = []
        for number in range(count):
            texts = [bytes(rng.choice(list(b"abc '\"\\ xyz\xc3\xa9"), size=rng.integers(1, 90))) for _ in range(2)]
            rows[split].append((*texts, number % 2))
        lines = [
            b"\t".join([label.format(y).encode(), b"P01", b"P02", b"b'" + first + b"'", b'"' + second])
            for first, second, y in rows[split]
        ]
        (folder / name).write_bytes(b"\n".join(lines) + b"\n")
    return rows


@pytest.mark.parametrize("label", ["{}.0", "{}"])
def test_pairs(label, tmp_path, caplog):
    rows = write_pairs(tmp_path / "lra_release" / "tsv_data", label=label)
    facts = prep_retrieval(tmp_path / "out", tmp_path / "lra_release", max_length=60)
    assert facts.pairs and facts.vocab_size == 257 and facts.splits == dict.fromkeys(SPLITS, 12)
    for split in SPLITS:
        wanted = [((b"b'" + a + b"'")[:60], (b'"' + b)[:60], y) for a, b, y in rows[split]]
        assert contents(tmp_path / "out", split) == wanted
    assert "scores do not compare" in caplog.text


@pytest.mark.parametrize(
    "line, message",
    [
        (b"1.0\ta\tb\ttext", "has 4 columns, but must have 5"),
        (b"1.0\ta\tb\ttext\ttext\ttext", "has 6 columns"),
        (b"2.0\ta\tb\ttext\ttext", "has the label '2.0'"),
        (b"\xff\ta\tb\ttext\ttext", "has the label"),
        (b"1.0\ta\tb\t\ttext", "has an empty document"),
        (b"", "has 1 columns"),
    ],
)
def test_a_wrong_pair_is_named(line, message, tmp_path):
    write_pairs(tmp_path / "tsv")
    with open(tmp_path / "tsv" / NAMES["valid"], "ab") as file:
        file.write(line + b"\n")
    with pytest.raises(DataError, match=f"eval.tsv:13 {message}"):
        prep_retrieval(tmp_path / "out", tmp_path / "tsv")


def test_missing_pairs_are_named(tmp_path):
    write_pairs(tmp_path / "a" / "tsv")
    write_pairs(tmp_path / "b" / "tsv")
    with pytest.raises(DataError, match="new_aan_pairs.train.tsv 2 times"):
        prep_retrieval(tmp_path / "out", tmp_path)
    (tmp_path / "a" / "tsv" / NAMES["test"]).unlink()
    with pytest.raises(DataError, match="no new_aan_pairs.test.tsv: unpack lra_release"):
        prep_retrieval(tmp_path / "out", tmp_path / "a")
    with pytest.raises(DataError, match="--max-length is 0"):
        prep_retrieval(tmp_path / "out", tmp_path / "b", max_length=0)


def write_batches(folder, count=20):
    folder.mkdir(parents=True)
    rng, found = np.random.default_rng(1), {}
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        colours = rng.integers(0, 256, size=(count, 3, 32, 32), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        found[name] = colours, labels
        records = np.concatenate([labels[:, None], colours.reshape(count, -1)], axis=1)
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    (folder / "batches.meta.txt").write_text("airplane\n")
    return found


def grey(colours):
    """As TensorFlow does it, in floats: colours [..., 3, 32, 32]."""
    luma = np.tensordot([0.2989, 0.5870, 0.1140], colours / 255, axes=([0], [-3]))
    return np.floor(luma * 255.5).astype(np.uint8)


def test_batches(tmp_path):
    found = write_batches(tmp_path / "cifar-10-batches-bin")
    facts = prep_images(tmp_path / "out", tmp_path, valid=0.1)
    assert (
        facts.splits == {"train": 90, "valid": 10, "test": 20} and facts.num_classes == 10 and facts.max_length == 1024
    )
    colours, labels = found["test_batch"]
    wanted = [(grey(image).tobytes(), int(label)) for image, label in zip(colours, labels)]
    assert contents(tmp_path / "out", "test") == wanted
    training = Counter()
    for name in [f"data_batch_{i}" for i in range(1, 6)]:
        training.update((grey(image).tobytes(), int(label)) for image, label in zip(*found[name]))
    assert Counter(contents(tmp_path / "out", "train") + contents(tmp_path / "out", "valid")) == training
    assert np.bincount(LraSplit(tmp_path / "out", "valid").labels).tolist() == [1] * 10
    prep_images(tmp_path / "again", as_tar(tmp_path / "cifar-10-batches-bin", tmp_path / "cifar.tar.gz"))
    assert contents(tmp_path / "again", "train") == contents(tmp_path / "out", "train")


def test_grey_keeps_the_ends_and_all_greys():
    values = np.arange(256, dtype=np.uint8)
    assert (as_grey(values, values, values) == values).all()
    assert [int(as_grey(*np.array(c, np.uint8))) for c in ((255, 0, 0), (0, 255, 0), (0, 0, 255))] == [76, 149, 29]


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("data_batch_3", None, "data_batch_3.bin is missing"),
        ("test_batch", None, "test_batch.bin is missing"),
        ("data_batch_3", bytes(RECORD * 2 - 1), "has 6,145 bytes, but must have 3,073 for each image"),
        ("data_batch_3", b"", "has 0 bytes"),
        ("data_batch_3", b"\x0a" + bytes(RECORD - 1), "has the label 10"),
    ],
)
def test_wrong_batches_are_named(name, content, message, tmp_path):
    write_batches(tmp_path / "cifar")
    (tmp_path / "cifar" / f"{name}.bin").unlink()
    if content is not None:
        (tmp_path / "cifar" / f"{name}.bin").write_bytes(content)
    with pytest.raises(DataError, match=message):
        prep_images(tmp_path / "out", tmp_path / "cifar")


def test_pickles_are_not_opened(tmp_path):
    (tmp_path / "data_batch_1").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(DataError, match="cifar-10-binary.tar.gz.*not the version for Python"):
        prep_images(tmp_path / "out", tmp_path)


def write_pictures(folder, mode="RGB", size=(32, 32)):
    image = pytest.importorskip("PIL.Image")
    rng, found = np.random.default_rng(1), {}
    for split, count in (("train", 10), ("test", 3)):
        for label, name in enumerate(("cat", "dog", "ship")):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                shape = (*size[::-1], 3) if mode == "RGB" else size[::-1]
                pixels = rng.integers(0, 256, size=shape, dtype=np.uint8)
                buffer = io.BytesIO()
                image.fromarray(pixels).save(buffer, format="PNG")
                (folder / split / name / f"{number}.png").write_bytes(buffer.getvalue())
                found.setdefault(split, []).append((pixels, label))
    return found


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_pictures(mode, tmp_path):
    found = write_pictures(tmp_path / "images", mode)
    facts = prep_images(tmp_path / "out", tmp_path / "images", valid=0.2)
    assert facts.splits == {"train": 24, "valid": 6, "test": 9} and facts.num_classes == 3
    values = {
        split: Counter(((grey(x.transpose(2, 0, 1)) if mode == "RGB" else x).tobytes(), label) for x, label in of_split)
        for split, of_split in found.items()
    }
    assert Counter(contents(tmp_path / "out", "test")) == values["test"]
    assert Counter(contents(tmp_path / "out", "train") + contents(tmp_path / "out", "valid")) == values["train"]


def test_wrong_pictures_are_named(tmp_path):
    write_pictures(tmp_path / "large", size=(33, 32))
    with pytest.raises(DataError, match="is 33 x 32 pixels, but must be 32 x 32"):
        prep_images(tmp_path / "out", tmp_path / "large")
    write_pictures(tmp_path / "images")
    (tmp_path / "images" / "train" / "dog" / "4.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match="cannot read train/dog/4.png"):
        prep_images(tmp_path / "out", tmp_path / "images")
    for path in (tmp_path / "images" / "test" / "cat").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="test lacks cat"):
        prep_images(tmp_path / "out", tmp_path / "images")
    with pytest.raises(DataError, match="--valid is 1,"):
        prep_images(tmp_path / "out", tmp_path / "images", valid=1)
