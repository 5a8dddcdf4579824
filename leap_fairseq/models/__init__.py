"""Models registered with fairseq, one family a file; importing this package registers them.

Also what loads, converts, exports and averages the checkpoints of these models.
"""

from leap_fairseq import compat

# Before any data or checkpoint is read.
compat.apply()

from leap_fairseq.models.leap_convtransformer import LeapConvTransformerModel
from leap_fairseq.models.leap_convtransformer_simul_trans import LeapConvTransformerSimulTransModel
from leap_fairseq.models.leap_lra import LeapLraModel
from leap_fairseq.models.leap_transformer_lm import LeapTransformerLanguageModel
from leap_fairseq.models.resuming import refuse_other_models
from leap_fairseq.models.translator_checkpoint import load_translator

refuse_other_models(LeapConvTransformerModel, LeapLraModel, LeapTransformerLanguageModel)

__all__ = [
    "LeapConvTransformerModel",
    "LeapConvTransformerSimulTransModel",
    "LeapLraModel",
    "LeapTransformerLanguageModel",
    "load_translator",
]
