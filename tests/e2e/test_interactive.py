"""fairseq-interactive: prompts of different lengths in one batch, an empty one too, are continued as each alone."""

import re

import pytest
import torch
from preloading import PLUGIN
from tolerances import assert_same

PROMPTS = ["The", "", "The value of the", "If the name is not bound , the result"]
OPTIONS = {
    "plain": (),
    "adaptive": "--criterion adaptive_loss --adaptive-softmax-cutoff 50,200 --ddp-backend legacy_ddp".split(),
}
# A plugin whose sums follow the wrong rows of a batch; a prompt alone, without a beam, has one row.
MIXED_UP = """
import leap_fairseq.models, leap_fairseq.tasks
from leap_fairseq.modules import MultiheadLinearAttention

reorder = MultiheadLinearAttention.reorder_incremental_state
MultiheadLinearAttention.reorder_incremental_state = lambda self, state, order: reorder(self, state, order.flip(0))
"""


@pytest.fixture(scope="module", params=OPTIONS)
def checkpoint(request, run_forked, lm_options, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    run_forked("fairseq-train", *lm_options(folder, 40, *OPTIONS[request.param]))
    return folder / "checkpoint_last.pt"


@pytest.fixture(scope="module")
def interactive(run_forked, lm_data, checkpoint):
    """A function: scores and texts of the hypotheses of each prompt, the best first."""

    def start(prompts, beam, batch, plugin=PLUGIN):
        options = f"--task leap_language_modeling --cpu --beam {beam} --nbest {beam} --max-len-a 0 --max-len-b 16"
        sizes = f"--batch-size {batch} --buffer-size {batch}"
        command = (lm_data, "--user-dir", plugin, "--path", checkpoint, *options.split(), *sizes.split())
        output = run_forked("fairseq-interactive", *command, stdin="".join(f"{prompt}\n" for prompt in prompts)).output
        found = re.findall(r"^H-(\d+)\t(\S+)\t(.*)$", output, re.MULTILINE)
        of_prompts = [[(float(score), text) for n, score, text in found if n == str(i)] for i in range(len(prompts))]
        return [(torch.tensor([score for score, _ in of]), [text for _, text in of]) for of in of_prompts]

    return start


def assert_same_hypotheses(actual, expected):
    assert len(actual) == len(expected) == len(PROMPTS)
    for (scores, texts), (expected_scores, expected_texts) in zip(actual, expected):
        assert texts == expected_texts
        assert_same(scores, expected_scores, what="score")


@pytest.mark.parametrize("beam", [1, 3])
def test_a_batch_of_prompts_is_continued_as_each_alone(interactive, beam):
    together, alone = interactive(PROMPTS, beam, 4), interactive(PROMPTS, beam, 1)
    assert_same_hypotheses(together, alone)
    for prompt, (_, texts) in zip(PROMPTS, alone):
        assert len(set(texts)) == beam
        # A word that the model does not know is written as <unk>.
        assert all(len(text.split()) > len(prompt.split()) for text in texts)
    # Another prompt in its place changes what is written.
    other = interactive([PROMPTS[-1], *PROMPTS[1:]], beam, 4)
    assert other[0][1] == together[-1][1] != together[0][1]


@pytest.mark.parametrize("beam", [1, 3])
def test_the_control_that_mixed_up_states_are_seen(interactive, beam, tmp_path):
    plugin = tmp_path / "mixed_up"
    plugin.mkdir()
    (plugin / "__init__.py").write_text(MIXED_UP, encoding="utf-8")
    with pytest.raises(AssertionError):
        assert_same_hypotheses(interactive(PROMPTS, beam, 4, plugin), interactive(PROMPTS, beam, 1))
