"""Resuming a training with another model than it was begun with: an error that names the option."""

import argparse
import re
from typing import Any, Callable, Dict, List

from fairseq import checkpoint_utils
from fairseq.file_io import PathManager
from fairseq.trainer import Trainer

from leap_fairseq.compat.replacing import replace

MODEL_OPTION = re.compile(
    r"arch|.*(_attention|_layers|_dim|_heads|_cutoff|_factor|_channels|_kernel_sizes|_visibility|_before|_learned_pos)"
    r"|activation_fn|adaptive_input|attention_half_life|normalizer_floor|no_decoder_final_norm|no_scale_embedding"
    r"|attention(_features|_block|_hashes|_random_blocks)?|pooling"
    r"|encoder_segment|no_token_positional_embeddings|share_.*|tie_.*|waitk_lagging|fixed_pre_decision_ratio"
)
"""Options that decide what the weights compute. A dropout or a learning rate may change on the way."""


def repair_resuming() -> None:
    """Refuses a save folder of another configuration.

    fairseq 0.12.2 resumes with the model of the command line, whatever the checkpoint was trained as: weights of
    other shapes end in a long list of them, and those of the same shapes (relu and elu attention, another floor) train
    on as another model in silence.
    """
    replace([Trainer], "load_checkpoint", _refusing_another_model)


def differences(before: Dict[str, Any], now: Dict[str, Any]) -> List[str]:
    """The options of a model that differ, each as "--name A, not B".

    Args:
        before: options that the checkpoint was trained with.
        now: those of the command.
    """
    names = sorted(name for name in before.keys() & now.keys() if MODEL_OPTION.fullmatch(name))
    changed = [name for name in names if str(before[name]) != str(now[name])]
    # Only these sizes of positions are part of the model; a table of embeddings is as long as needed.
    if "cosformer" in (str(value) for value in now.values()):
        positions = ("max_source_positions", "max_target_positions")
        changed += [name for name in positions if str(before.get(name)) != str(now.get(name))]
    return [f"--{name.replace('_', '-')} {before[name]}, not {now[name]}" for name in changed]


def _refusing_another_model(load: Callable) -> Callable:
    def load_checkpoint(self, filename, reset_optimizer=False, *args, **kwargs):
        # A new optimizer begins another training, from weights of any origin. One process looks for all.
        if not reset_optimizer and self.is_data_parallel_master and PathManager.isfile(filename):
            state = checkpoint_utils.load_checkpoint_to_cpu(filename)
            changed = differences(_model_options(state.get("cfg")), _model_options(self.cfg))
            if changed:
                raise ValueError(
                    f"{filename} was trained with {'; '.join(changed)}: give another --save-dir, or the options that "
                    "the training was begun with"
                )
        return load(self, filename, reset_optimizer, *args, **kwargs)

    return load_checkpoint


def _model_options(cfg: Any) -> Dict[str, Any]:
    model = cfg["model"] if cfg else None
    if model is None:
        return {}
    return dict(vars(model)) if isinstance(model, argparse.Namespace) else dict(model)
