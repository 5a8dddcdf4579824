"""References of fairseq-generate as the manifest has them.

fairseq spells a reference from its tokens: a letter that the dictionary lacks is <<unk>> there, and what SentencePiece
normalises, such as full-width marks, another letter. Symbols that the model does not know are added for these; all
other tokens are what they were.
"""

import copy
import difflib
import itertools
from typing import Any, Dict, List, Sequence

import torch
from fairseq.data import Dictionary, data_utils
from fairseq.data.audio.speech_to_text_dataset import SpeechToTextDataset
from torch import Tensor

from leap_fairseq.speech.vocabulary import WORD_BOUNDARY


class ManifestReferences:
    """Spells the targets of batches as their texts.

    Args:
        datasets: that the batches are of, several where subsets were joined. Each gets a copy of its dictionary, which
            stays as the model knows it.
        dictionary: that fairseq-generate spells with; symbols are added to it.
    """

    def __init__(self, datasets: Sequence[SpeechToTextDataset], dictionary: Dictionary):
        self.datasets, self.dictionary = list(datasets), dictionary
        for dataset in self.datasets:
            dataset.tgt_dict = copy.deepcopy(dictionary)

    def spell(self, sample: Dict[str, Any]) -> Tensor:
        """The target of a batch in tokens that are decoded to the texts of the manifest, int64 [B, T].

        Args:
            sample: with the target as the dataset gives it, [B, T] and the id of each row.

        Raises:
            ValueError: of joined subsets it is not known which one a row is of.
        """
        pad = self.dictionary.pad()
        rows = [self._row(row[row.ne(pad)], index) for row, index in zip(sample["target"].cpu(), sample["id"].tolist())]
        return data_utils.collate_tokens(rows, pad).to(sample["target"])

    def _row(self, row: Tensor, index: int) -> Tensor:
        dataset = self._dataset_of(row, index)
        first, last = _text_within(dataset, row)
        symbols = _symbols(dataset, dataset.tgt_texts[index].strip())
        return torch.cat((row[:first], row.new_tensor(list(map(self.dictionary.add_symbol, symbols))), row[last:]))

    def _dataset_of(self, row: Tensor, index: int) -> SpeechToTextDataset:
        if len(self.datasets) == 1:
            return self.datasets[0]
        # The numbers of joined subsets all begin at 0.
        found = {}
        for dataset in (dataset for dataset in self.datasets if index < len(dataset)):
            tokens = dataset.tgt_dict.encode_line(
                dataset.get_tokenized_tgt_text(index), add_if_not_exist=False, append_eos=False
            )
            if torch.equal(tokens.to(row), row[slice(*_text_within(dataset, row))]):
                found[dataset.tgt_texts[index]] = dataset
        if len(found) != 1:
            raise ValueError(f"{len(found)} subsets may hold reference {index}: give one --gen-subset at a time")
        return next(iter(found.values()))


def _text_within(dataset: SpeechToTextDataset, row: Tensor) -> List[int]:
    """Where the tokens of the text begin and end, between the marks of language and end."""
    tagged_behind = bool(dataset.cfg.prepend_bos_and_append_tgt_lang_tag)
    before = bool(dataset.cfg.prepend_tgt_lang_tag) or tagged_behind
    return [int(before), len(row) - int(dataset.append_eos) - int(tagged_behind)]


def _symbols(dataset: SpeechToTextDataset, text: str) -> List[str]:
    """Symbols that the dataset's tokenizers decode to a text: their own, but where they change it, the text's."""
    symbols = dataset.tokenize(dataset.bpe_tokenizer, dataset.tokenize(dataset.pre_tokenizer, text)).split(" ")
    if _decoded(dataset, symbols) == text:
        return symbols
    own = _divided_alike(WORD_BOUNDARY + text.replace(" ", WORD_BOUNDARY), symbols)
    return own if _decoded(dataset, own) == text else symbols


def _divided_alike(text: str, symbols: Sequence[str]) -> List[str]:
    """A text cut as symbols cut a similar one: equal where the two are equal."""
    similar = "".join(symbols)
    # To each place of the similar text the one in the text that it corresponds to.
    places = [0] * (len(similar) + 1)
    for kind, first, last, start, stop in difflib.SequenceMatcher(None, similar, text, autojunk=False).get_opcodes():
        if kind == "equal":
            places[first:last] = range(start, stop)
        else:
            places[first:last] = ([start] + [stop] * (last - first))[: last - first]
    places[0], places[-1] = 0, len(text)
    ends = list(itertools.accumulate(map(len, symbols)))
    cut = [text[places[start] : places[stop]] for start, stop in zip([0, *ends], ends)]
    return [symbol for symbol in cut if symbol]


def _decoded(dataset: SpeechToTextDataset, symbols: Sequence[str]) -> str:
    text = " ".join(symbols)
    for tokenizer in (dataset.bpe_tokenizer, dataset.pre_tokenizer):
        text = text if tokenizer is None else tokenizer.decode(text)
    return text
