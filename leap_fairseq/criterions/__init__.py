"""Criterions registered with fairseq; importing this package registers them."""

from leap_fairseq import compat

compat.apply()

from leap_fairseq.criterions.sequence_classification import SequenceClassificationCriterion

__all__ = ["SequenceClassificationCriterion"]
