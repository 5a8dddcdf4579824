"""Language models for Hugging Face's transformers (``pip install 'leap-fairseq[hf]'``); needs none of fairseq.

Once it is imported, ``AutoModelForCausalLM.from_pretrained`` loads an exported folder without ``trust_remote_code``.
"""

try:
    from transformers import AutoConfig, AutoModelForCausalLM
except ImportError as error:
    raise ImportError("models for transformers need transformers: pip install 'leap-fairseq[hf]'") from error

from leap_fairseq.hf.cache import LeapCache
from leap_fairseq.hf.configuration import LeapLMConfig
from leap_fairseq.hf.decoder import ACTIVATIONS
from leap_fairseq.hf.modeling import LeapForCausalLM
from leap_fairseq.hf.pieces import piece_tokenizer
from leap_fairseq.hf.tokenizer import word_tokenizer

AutoConfig.register(LeapLMConfig.model_type, LeapLMConfig, exist_ok=True)
AutoModelForCausalLM.register(LeapLMConfig, LeapForCausalLM, exist_ok=True)

__all__ = ["ACTIVATIONS", "LeapCache", "LeapForCausalLM", "LeapLMConfig", "piece_tokenizer", "word_tokenizer"]
