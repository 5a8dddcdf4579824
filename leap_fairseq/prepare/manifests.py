"""The rows of manifests: segments of a corpus, and where the features of each are, or its sound."""

import os
from pathlib import Path
from typing import Dict, List, Optional

from leap_fairseq.prepare.clip_features import ZIP, Clips
from leap_fairseq.speech import ManifestRow
from leap_fairseq.speech.corpus import Corpus, Segment, by_file
from leap_fairseq.speech.named_sound import named_sound

Rows = Dict[str, List[ManifestRow]]
"""The manifest of each split."""


def common_folder(corpus: Corpus) -> Path:
    """The folder that all audio files of a corpus are in, absolute."""
    parents = {os.path.abspath(audio.parent) for segments in corpus.values() for audio, _ in by_file(segments)}
    return Path(os.path.commonpath(parents))


def rows_of(corpus: Corpus, clips: Clips, task: str, audio_root: Optional[Path]) -> Rows:
    """The rows of all splits, without the clips that were skipped.

    Args:
        corpus: All of it.
        clips: What there is of each clip.
        task: st or asr.
        audio_root: Where the sound is, if the rows shall name it; None: they name features in the zip.
    """
    return {
        split: [_row(each, clips[split][each.id], task, audio_root) for each in segments if each.id in clips[split]]
        for split, segments in corpus.items()
    }


def _row(segment: Segment, clip: List[int], task: str, audio_root: Optional[Path]) -> ManifestRow:
    *place, frames = clip
    if audio_root is None:
        audio = f"{ZIP}:{place[0]}:{place[1]}"
    else:
        audio = named_sound(os.path.relpath(segment.audio, audio_root), segment.offset, segment.duration)
    return ManifestRow(
        id=segment.id,
        audio=audio,
        n_frames=frames,
        tgt_text=segment.src_text if task == "asr" else segment.tgt_text,
        src_text=segment.src_text,
        speaker=segment.speaker,
        src_lang=segment.src_lang,
        tgt_lang=segment.src_lang if task == "asr" else segment.tgt_lang,
    )
