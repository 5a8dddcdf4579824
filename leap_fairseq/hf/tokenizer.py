"""fairseq's dictionary of words as a fast tokenizer of transformers."""

from typing import Sequence

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

END, PAD, UNKNOWN = "</s>", "<pad>", "<unk>"


def word_tokenizer(symbols: Sequence[str]) -> PreTrainedTokenizerFast:
    """A tokenizer that splits at white space, with the numbers of fairseq's dictionary.

    Args:
        symbols: of the dictionary in their order, with fairseq's special ones.

    Returns:
        A tokenizer that puts ``</s>`` before a text, where fairseq's models begin, and pads on the left, as
        ``generate`` needs it.

    Raises:
        ValueError: a symbol is there twice, or a special one is missing.
    """
    vocabulary = {symbol: number for number, symbol in enumerate(symbols)}
    if len(vocabulary) != len(symbols) or not vocabulary.keys() >= {END, PAD, UNKNOWN}:
        raise ValueError(
            f"the dictionary must have each symbol once, {END}, {PAD} and {UNKNOWN} among them: give the dict.txt "
            "that fairseq-preprocess wrote"
        )
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return finished(tokenizer)


def finished(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """A tokenizer that begins a text as fairseq's models do, and pads on the left.

    Args:
        tokenizer: that has the special symbols. In a text they are what it makes of their letters.
    """
    tokenizer.post_processor = TemplateProcessing(
        single=f"{END} $A", pair=f"{END} $A {END} $B", special_tokens=[(END, tokenizer.token_to_id(END))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **{"bos_token": END, "eos_token": END, "pad_token": PAD, "unk_token": UNKNOWN},
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
        split_special_tokens=True,
    )
