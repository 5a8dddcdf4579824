"""Resuming a training with another model than it was begun with: an error that names the option."""

from typing import Any, Callable, Mapping

from fairseq import checkpoint_utils
from fairseq.file_io import PathManager
from fairseq.trainer import Trainer
from torch import nn

from leap_fairseq.compat.replacing import replace
from leap_fairseq.models.options import differences, model_options


def refuse_other_models(*models: type) -> None:
    """Refuses to resume a training of another configuration.

    fairseq 0.12.2 resumes with the model of the command line, whatever the checkpoint was trained as: weights of
    other shapes end in a long list of them, and those of the same shapes (relu and elu attention, another floor) train
    on as another model in silence. Between reading a checkpoint and taking its weights it calls nothing of a task or a
    model that sees both configurations, and so the trainer's own method is replaced.

    Args:
        models: the classes whose trainings are guarded; those of any other model resume as in fairseq.
    """
    replace([Trainer], "load_checkpoint", lambda load: _refusing_another_model(load, models))


def _refusing_another_model(load: Callable, models: tuple) -> Callable:
    def load_checkpoint(self, filename, reset_optimizer=False, *args, **kwargs):
        guarded = isinstance(self.get_model(), models)
        # A new optimizer begins another training, from weights of any origin. One process looks for all.
        if guarded and not reset_optimizer and self.is_data_parallel_master and PathManager.isfile(filename):
            state = checkpoint_utils.load_checkpoint_to_cpu(filename)
            changed = differences(model_options(state.get("cfg")), model_options(self.cfg))
            if changed:
                raise ValueError(
                    f"{filename} was trained with {'; '.join(changed)}: give another --save-dir, or the options that "
                    "the training was begun with"
                )
            _refuse_other_sizes(filename, state.get("model") or {}, self.get_model())
        return load(self, filename, reset_optimizer, *args, **kwargs)

    return load_checkpoint


def _refuse_other_sizes(filename: str, weights: Mapping[str, Any], model: nn.Module) -> None:
    """Refuses weights of other sizes, such as those that the data decide; a ValueError with the first of them."""
    for name, weight in model.state_dict().items():
        if name in weights and weights[name].shape != weight.shape:
            raise ValueError(
                f"{filename} holds {name} of {list(weights[name].shape)}, but data and options of this command make "
                f"{list(weight.shape)}: give another --save-dir, or those that the training was begun with"
            )
