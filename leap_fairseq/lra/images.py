"""Image classification: CIFAR-10 as 1,024 grey values, row by row.

Read from CIFAR-10's binary version (data_batch_1.bin ... test_batch.bin, in a folder or its tar), or from 32 x 32
pictures {train,test}/CLASS/*.png. A token is a grey value plus 1. Validation is held out of the training images.
The version for Python is not read: it is a pickle, which runs what its maker put into it.
Source: Krizhevsky 2009; google-research/long-range-arena, lra_benchmarks/image/input_pipeline.py.
"""

import io
import logging
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple, Union

import numpy as np

from leap_fairseq.files import DataError
from leap_fairseq.lra import LraFacts
from leap_fairseq.lra.data_set import Writer, write_data_set
from leap_fairseq.lra.division import divide
from leap_fairseq.prepare.sources import SourceFile, digest_of, files_of

logger = logging.getLogger(__name__)

SIDE = 32
RECORD = 1 + 3 * SIDE * SIDE
"""Bytes: a label, then all red, all green and all blue values."""

TRAIN_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
PER_BATCH = 10_000
CLASSES = 10
BATCHES = r"(?P<name>data_batch_[1-5]|test_batch)\.bin"
PICTURES = r"(?P<split>train|test)/(?P<label>[^/]+)/[^/]+\.png"
ORIGIN = "cifar-10-binary.tar.gz of www.cs.toronto.edu/~kriz/cifar.html"
GREY_VALUES = 256


class Images(NamedTuple):
    """Grey values, uint8 [N, SIDE * SIDE], and labels, int64 [N]."""

    pixels: np.ndarray
    labels: np.ndarray


def prep_images(out: Union[str, Path], source: Union[str, Path], valid: float = 0.1, seed: int = 1) -> LraFacts:
    """Makes the data set, or finds it done; the arguments are the command's.

    Raises:
        DataError: Files are missing or damaged, or Pillow is, which reads PNGs.
    """
    if not 0 < valid < 1:
        raise DataError(f"--valid is {valid:g}, but must be between 0 and 1")
    files = files_of(source, BATCHES)
    read = read_batches if files else read_pictures
    files = files or files_of(source, PICTURES)
    if not files:
        pictures = "or pictures train/CLASS/*.png, test/CLASS/*.png"
        raise DataError(f"{source} has no data_batch_1.bin: give {ORIGIN} (not the version for Python), {pictures}")
    train, test = read(files)
    options = {"source": digest_of(files), "valid": valid, "seed": seed}
    classes = CLASSES if read is read_batches else int(train.labels.max()) + 1

    def make(writer: Writer) -> None:
        kept, held_out = divide(train.labels.tolist(), (valid,), seed)
        positions = {"train": (train, kept), "valid": (train, held_out), "test": (test, range(len(test.labels)))}
        for split, (images, chosen) in positions.items():
            for i in chosen:
                writer.add(split, int(images.labels[i]), images.pixels[i].astype(np.uint16) + 1)

    return write_data_set(out, LraFacts("image", GREY_VALUES + 1, classes, SIDE * SIDE), options, make)


def as_grey(red: np.ndarray, green: np.ndarray, blue: np.ndarray) -> np.ndarray:
    """The luma of colours, uint8 of any shape: 0.2989 R + 0.587 G + 0.114 B, with TensorFlow's rounding.

    Source: tf.image.rgb_to_grayscale, whose result on bytes is the luma as a fraction of 255 times 255.5, less its
    fraction. The weights add up to 0.9999, and with 255.5 white stays 255.
    """
    weighted = 2989 * red.astype(np.int64) + 5870 * green.astype(np.int64) + 1140 * blue.astype(np.int64)
    return (weighted * 511 // (510 * 10_000)).astype(np.uint8)


def read_batches(files: List[SourceFile]) -> Tuple[Images, Images]:
    """Reads the binary version: training and test images.

    Raises:
        DataError: A batch is missing, breaks off or has a label above 9.
    """
    batches = {file.groups["name"]: _read_batch(file) for file in files}
    missing = [f"{name}.bin" for name in (*TRAIN_BATCHES, "test_batch") if name not in batches]
    if missing:
        raise DataError(f"{', '.join(missing)} is missing beside {files[0].name}: unpack all of {ORIGIN}")
    train = [batches[name] for name in TRAIN_BATCHES]
    return Images(*(np.concatenate(parts) for parts in zip(*train))), batches["test_batch"]


def _read_batch(file: SourceFile) -> Images:
    if not file.content or len(file.content) % RECORD:
        given = f"{file.name} has {len(file.content):,} bytes"
        raise DataError(f"{given}, but must have {RECORD:,} for each image: fetch {ORIGIN} again")
    records = np.frombuffer(file.content, np.uint8).reshape(-1, RECORD)
    if len(records) != PER_BATCH:
        logger.warning("%s has %d images, not the %d of CIFAR-10", file.name, len(records), PER_BATCH)
    labels = records[:, 0].astype(np.int64)
    if labels.max() >= CLASSES:
        raise DataError(f"{file.name} has the label {labels.max()}, but must have 0 to 9: fetch {ORIGIN} again")
    planes = records[:, 1:].reshape(-1, 3, SIDE * SIDE)
    return Images(as_grey(planes[:, 0], planes[:, 1], planes[:, 2]), labels)


def read_pictures(files: List[SourceFile]) -> Tuple[Images, Images]:
    """Reads PNGs: training and test images; classes are numbered by their sorted names.

    Raises:
        DataError: A split lacks a class, or a picture is damaged or of another size.
    """
    names = sorted({file.groups["label"] for file in files})
    splits: Dict[str, List[SourceFile]] = {"train": [], "test": []}
    for file in files:
        splits[file.groups["split"]].append(file)
    for split, of_split in splits.items():
        missing = sorted(set(names) - {file.groups["label"] for file in of_split})
        if missing or len(names) < 2:
            rule = "train and test must have the same classes, two or more"
            raise DataError(f"{split} lacks {', '.join(missing) or 'a second class'}: {rule}")
    return tuple(
        Images(
            np.stack([_read_picture(file) for file in of_split]),
            np.array([names.index(file.groups["label"]) for file in of_split]),
        )
        for of_split in splits.values()
    )


def _read_picture(file: SourceFile) -> np.ndarray:
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError("PNGs need Pillow: pip install pillow, or give CIFAR-10's binary version") from error
    try:
        with Image.open(io.BytesIO(file.content), formats=["PNG"]) as picture:
            # Before it is decoded: a small file may hold a picture of gigabytes.
            width, height = picture.size
            colours = np.asarray(picture.convert("RGB")) if (width, height) == (SIDE, SIDE) else None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"cannot read {file.name}: fetch it again ({error})") from error
    if colours is None:
        raise DataError(f"{file.name} is {width} x {height} pixels, but must be {SIDE} x {SIDE}: scale the pictures")
    return as_grey(colours[..., 0], colours[..., 1], colours[..., 2]).ravel()
