"""Features and manifests in the form that fairseq's speech_to_text task reads, written without fairseq.

The features of a corpus are .npy members of one uncompressed zip; a manifest names each by zip, byte offset and
length, relative to the folder of the data YAML (`fbank80.zip:1234:5678`). The same rows give the same bytes.
"""

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Iterable, List, Optional, Tuple, Union

import numpy as np

from leap_fairseq.files import DataError, whole_file
from leap_fairseq.speech.stored_zip import Member, end_zip, stored

SEPARATORS = re.compile("[\t\n\r\0]")
"""What fairseq's reader (csv, QUOTE_NONE, universal newlines) would take for the end of a field, row or file."""


class FeatureZip:
    """Writes the features of a corpus; the file appears when the `with` block ends without an exception.

    Args:
        path: The zip to write, for example `fbank80.zip`.
    """

    def __init__(self, path: Union[str, Path]):
        self.path = Path(path)
        self._context = whole_file(self.path)
        self._file: Optional[IO[bytes]] = None
        self._members: List[Member] = []

    def __enter__(self) -> "FeatureZip":
        self._file = self._context.__enter__()
        return self

    def __exit__(self, *exception) -> Optional[bool]:
        if exception[0] is None:
            end_zip(self._file, self._members)
        return self._context.__exit__(*exception)

    def add(self, name: str, features: np.ndarray) -> Tuple[int, int]:
        """Adds one clip.

        Args:
            name: Of the member, without `.npy`.
            features: float32 [T, F].

        Returns:
            Byte offset and length of the .npy inside of the zip.
        """
        member, content = stored(name, features)
        place = self._file.tell() + member.header
        self._file.write(content)
        self._members.append(member)
        return place, member.length


@dataclass(frozen=True)
class ManifestRow:
    """One clip, with the columns of fairseq's speech_to_text manifests.

    Attributes:
        id: Unique in the manifest.
        audio: Path, `zip:offset:length`, or what `named_sound` gives, relative to the data YAML's audio_root.
        n_frames: Number of feature frames.
        tgt_text: What the model shall write.
        src_text: Transcript of the speech.
        speaker: Name of the speaker.
        src_lang: Language of the speech, for example en.
        tgt_lang: Language of tgt_text, for example de.
    """

    id: str
    audio: str
    n_frames: int
    tgt_text: str
    src_text: str = ""
    speaker: str = ""
    src_lang: str = ""
    tgt_lang: str = ""


COLUMNS = tuple(field.name for field in fields(ManifestRow))


def write_manifest(path: Union[str, Path], rows: Iterable[ManifestRow]) -> int:
    """Writes a manifest as fairseq reads it: tab-separated, UTF-8, no quoting, so that quotes and backslashes stay.

    Args:
        path: For example `train_st.tsv`.
        rows: In the order wanted; a tab, line break or NUL inside of a text becomes a space.

    Returns:
        The number of rows.

    Raises:
        DataError: No row at all, which fairseq refuses to load, or an id that occurs twice.
    """
    ids = set()
    name = Path(path).name
    with whole_file(path, text=True) as file:
        file.write("\t".join(COLUMNS) + "\n")
        for row in rows:
            values = (SEPARATORS.sub(" ", str(getattr(row, column))) for column in COLUMNS)
            file.write("\t".join(values) + "\n")
            if row.id in ids:
                raise DataError(f"{name}: the id {row.id!r} occurs twice, but must name one clip: rename one")
            ids.add(row.id)
        if not ids:
            raise DataError(f"no clip is left for {name}: check the audio of this split and --min/--max-frames")
    return len(ids)
