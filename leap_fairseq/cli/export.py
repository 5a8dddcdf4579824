"""Makes a trained model one folder: a translator for our commands, or a language model for Hugging Face's transformers.

    leap-fairseq export translator/checkpoint_best.pt my_translator
    leap-fairseq translate speech.wav --model my_translator

From Python, `leap_fairseq.models.load_translator("my_translator")` loads it. The folder of a translator has its
weights, options, data YAML, CMVN, SentencePiece model and dictionary.

    leap-fairseq export lm/checkpoint_best.pt my_lm --format huggingface

writes weights (safetensors), configuration and tokenizer, which AutoModelForCausalLM and AutoTokenizer load.
"""

import argparse
import logging

from leap_fairseq.cli.model_options import add_data_options, add_dtype_option, torch_dtype

LOG_LEVEL = logging.WARNING


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options, which are the arguments of the two functions that export."""
    parser.add_argument("checkpoint", help="of a leap_convtransformer_simul_trans, or of a leap_transformer_lm")
    parser.add_argument("out", help="the folder to make")
    text = "translator, or huggingface: of a language model with linear attention"
    parser.add_argument("--format", choices=("translator", "huggingface"), default="translator", help=text)
    add_data_options(parser)
    add_dtype_option(parser, "of the weights in the folder; fp16 halves its size (default: as they are)")


def run(options: argparse.Namespace) -> None:
    """Writes the folder."""
    dtype = torch_dtype(options.dtype)
    if options.format == "huggingface":
        if options.config_yaml is not None:
            raise argparse.ArgumentTypeError("--config-yaml is that of a translator: leave it out")
        from leap_fairseq.models.huggingface import export_language_model

        export_language_model(options.checkpoint, options.out, options.data_bin, dtype)
        return
    from leap_fairseq.models.export import export_translator

    export_translator(options.checkpoint, options.out, options.data_bin, options.config_yaml, dtype)
