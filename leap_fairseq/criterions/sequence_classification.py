"""``--criterion sequence_classification``: cross entropy and accuracy of one label for each sample.

fairseq's ``sentence_prediction`` wants a head by name and a dictionary of labels, and rounds the accuracy to 0.1 %, by
which it then chooses the best checkpoint. Here every sample counts once, whatever batch it is in, and the accuracy is
the number of right ones over the number of samples, both of which are logged.

Shape legend: B batch.
"""

import math

from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from torch.nn import functional as F

DIGITS = 4
"""Of the accuracy in per cent: exact up to a million samples."""


@register_criterion("sequence_classification", dataclass=FairseqDataclass)
class SequenceClassificationCriterion(FairseqCriterion):
    """Cross entropy of the labels."""

    def forward(self, model, sample, reduce=True):
        """Computes the loss of a batch.

        Args:
            model: gives logits [B, classes] from ``sample["net_input"]``.
            sample: with ``target``, int64 [B].
            reduce: sum over the batch.

        Returns:
            The loss in nats (a sum, or [B]), the number of samples, and what is logged.
        """
        logits, target = model(**sample["net_input"]).float(), sample["target"]
        loss = F.cross_entropy(logits, target, reduction="sum" if reduce else "none")
        right = logits.detach().argmax(-1).eq(target).sum()
        count = target.numel()
        logged = {"loss": loss.detach().sum(), "right": right, "ntokens": sample["ntokens"]}
        return loss, count, {**logged, "nsentences": count, "sample_size": count}

    @staticmethod
    def reduce_metrics(logging_outputs) -> None:
        """Sums over batches and processes: loss in bits, accuracy in per cent."""
        loss, right, count = (
            sum(float(log.get(name, 0)) for log in logging_outputs) for name in ("loss", "right", "sample_size")
        )
        if not count:
            return
        metrics.log_scalar("loss", loss / count / math.log(2), count, round=4)
        metrics.log_scalar("accuracy", 100 * right / count, count, round=DIGITS)
        metrics.log_scalar_sum("right", right)
        metrics.log_scalar_sum("samples", count)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """fairseq may sum the dictionaries before :meth:`reduce_metrics`."""
        return True
