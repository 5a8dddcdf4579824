"""Tiny corpora in the layouts of real ones, with synthetic voices: what the readers must understand."""

import numpy as np
import soundfile
import soxr

SENTENCES = (
    ('He said: "no" \\ yes.', 'Er sagte: "nein" \\ ja.'),
    ("It's a back\\slash\\n", "Ein \\\\ und ein \\t"),
    ('"', '""'),
    ("Good morning.", "Guten Morgen."),
    ("One two three.", "Eins zwei „drei“."),
)


def speechlike(seconds, seed, rate=16000):
    """Gliding harmonics under a syllable rhythm, and noise; float32 [N] at the rate in Hz, the same sound at each."""
    rng = np.random.default_rng(seed)
    pitch, glide, phases = rng.uniform(90, 250), rng.uniform(-0.3, 0.3), rng.uniform(0, 6, 20)
    time = np.arange(int(seconds * 48000)) / 48000
    cycles = 2 * np.pi * pitch * time * (1 + glide * time)
    voice = sum(np.sin(h * cycles + phases[h - 1]) / h for h in range(1, 20)) * (1.1 + np.sin(25 * time + seed))
    samples = (0.05 * voice + 0.005 * rng.standard_normal(len(time))).astype(np.float32)
    return samples if rate == 48000 else soxr.resample(samples, 48000, rate)


YAML = {
    1: "- {{duration: {duration:.6f}, offset: {offset:.6f}, speaker_id: {speaker}, wav: {wav}}}\n",
    2: "- {{duration: {duration:.6f}, offset: {offset:.6f}, rW: 3, uW: 0, speaker_id: {speaker}, wav: {wav}}}\n",
    3: "- wav: {wav}\n  speaker_id: {speaker}\n  offset: {offset:.6f}\n  duration: {duration:.6f}\n  uW: 0\n  rW: 3\n",
}
"""The YAML of each release of MuST-C; the third in block style and another order, which must not matter."""


def write_mustc(
    root,
    version=1,
    tgt_lang="de",
    splits=("train", "dev", "tst-COMMON", "tst-HE"),
    ending="wav",
    src_lang="en",
    sentences=SENTENCES,
    seconds=0.35,
):
    """Writes a corpus whose every split has 2 talks and 5 segments of so many seconds; returns root."""
    for number, split in enumerate(splits):
        folder = root / f"{src_lang}-{tgt_lang}" / "data" / split
        for name in ("wav", "txt"):
            (folder / name).mkdir(parents=True)
        entries = ""
        for talk, count in ((1, 3), (2, 2)):
            wav = f"ted_{10 * number + talk}.{ending}"
            samples = speechlike((seconds + 0.05) * count + 0.3, seed=10 * number + talk)
            soundfile.write(folder / "wav" / wav, samples, 16000, subtype="PCM_16")
            for index in range(count):
                offset = 0.2 + (seconds + 0.05) * index
                facts = dict(duration=seconds, offset=offset, speaker=f"spk.{talk}", wav=wav)
                entries += YAML[version].format(**facts)
        (folder / "txt" / f"{split}.yaml").write_text(entries)
        # Transcripts last: they are the texts of a pair of one language.
        for language, texts in zip((tgt_lang, src_lang), zip(*(pair[::-1] for pair in sentences))):
            (folder / "txt" / f"{split}.{language}").write_text("".join(text + "\n" for text in texts))
    return root


def write_mtedx(root, src_lang="es", tgt_lang="en", splits=("train", "valid", "test")):
    """As `write_mustc`: the files are FLAC, but called .wav in the YAML. Returns root."""
    write_mustc(root, 3, tgt_lang, splits, src_lang=src_lang)
    for wav in (root / f"{src_lang}-{tgt_lang}").rglob("*.wav"):
        samples, rate = soundfile.read(wav, dtype="int16")
        soundfile.write(wav.with_suffix(".flac"), samples, rate)
        wav.unlink()
    return root


def write_europarl_st(root, src_lang="en", tgt_lang="de", splits=("train", "dev", "test"), ending="flac"):
    """Writes 2 speeches and 5 segments a split, below v1.1; returns root. What ends in m4a is no sound."""
    folder = root / "v1.1" / src_lang
    (folder / "audios").mkdir(parents=True)
    for number, split in enumerate(splits):
        place = folder / tgt_lang / split
        place.mkdir(parents=True)
        speeches = [f"{src_lang}.2008092{number}.31.3-{talk}" for talk in (1, 2)]
        segments = []
        for talk, (speech, count) in enumerate(zip(speeches, (3, 2))):
            samples = speechlike(0.4 * count + 0.3, seed=10 * number + talk, rate=44100)
            path = folder / "audios" / f"{speech}.{ending}"
            path.write_bytes(b"\0\0\0\x20ftypM4A ") if ending == "m4a" else soundfile.write(path, samples, 44100)
            segments += [f"{speech} {0.2 + 0.4 * index:.2f} {0.55 + 0.4 * index:.2f}" for index in range(count)]
        speakers = [f"MEP_{split}_{talk}" for talk in (1, 2)]
        texts = {"segments.lst": segments, "speeches.lst": speeches, "speakers.lst": speakers}
        texts.update(zip((f"segments.{src_lang}", f"segments.{tgt_lang}"), zip(*SENTENCES)))
        for name, lines in texts.items():
            (place / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return root


def write_clip(path, seconds, seed, rate=48000, **options):
    """Writes one clip of Common Voice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, speechlike(seconds, seed, rate), rate, **options)


def covost_rows(split, count=5):
    """(path, sentence, translation, client_id) of a split."""
    texts = [SENTENCES[index % len(SENTENCES)] for index in range(count)]
    return [(f"common_voice_{split}_{index}.mp3", *texts[index], f"{split}client{index % 2}") for index in range(count)]


def write_tsv(path, header, rows, newline="\n"):
    """Writes lines of fields between tabs, byte for byte."""
    lines = ["\t".join(row) for row in [header, *rows]]
    path.write_bytes("".join(line + newline for line in lines).encode())


def write_covost(root, src_lang="en", tgt_lang="de", splits=("train", "dev", "test"), published=False, count=5):
    """Writes clips as mp3 of 48 kHz and the TSVs; `published` leaves the joining of the splits to the reader.

    Returns root.
    """
    folder = root / src_lang
    rows = {split: covost_rows(split, count) for split in splits}
    for number, split in enumerate(splits):
        for index, row in enumerate(rows[split]):
            write_clip(folder / "clips" / row[0], 0.3 + 0.05 * index, seed=100 * number + index)
    name = f"covost_v2.{src_lang}_{tgt_lang}"
    if not published:
        for split in splits:
            write_tsv(folder / f"{name}.{split}.tsv", ("path", "sentence", "translation", "client_id"), rows[split])
        return root
    everything = [(split, *row) for split in splits for row in rows[split]]
    validated = [(client, clip, sentence, "2", "0") for _, clip, sentence, _, client in everything]
    write_tsv(folder / "validated.tsv", ("client_id", "path", "sentence", "up_votes", "down_votes"), validated)
    values = {0: "train_covost"}
    translated = [
        (clip, translation, values.get(index, split) if split == "train" else split)
        for index, (split, clip, _, translation, _) in enumerate(everything)
    ]
    write_tsv(folder / f"{name}.tsv", ("path", "translation", "split"), reversed(translated))
    return root
