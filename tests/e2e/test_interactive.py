"""fairseq-interactive: prompts of different lengths in one batch are continued as if each were alone."""

import re

import pytest
from command_server import PLUGIN

PROMPTS = ["The", "The value of the", "If the name is not bound , the result"]
ADAPTIVE = "--criterion adaptive_loss --adaptive-softmax-cutoff 50,200 --ddp-backend legacy_ddp".split()


@pytest.fixture(scope="module", params=["plain", "adaptive"])
def checkpoint(request, run_forked, lm_options, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    run_forked("fairseq-train", *lm_options(folder, 40, *(ADAPTIVE if request.param == "adaptive" else ())))
    return folder / "checkpoint_last.pt"


@pytest.fixture
def interactive(run_forked, lm_data, checkpoint):
    """A function: hypotheses of each prompt, (score, text), the best first."""

    def start(prompts, beam, batch):
        options = f"--task language_modeling --cpu --beam {beam} --nbest {beam} --max-len-a 0 --max-len-b 16"
        sizes = f"--batch-size {batch} --buffer-size {batch}"
        command = (lm_data, "--user-dir", PLUGIN, "--path", checkpoint, *options.split(), *sizes.split())
        output = run_forked("fairseq-interactive", *command, stdin="".join(f"{prompt}\n" for prompt in prompts)).output
        found = re.findall(r"^H-(\d+)\t(\S+)\t(.*)$", output, re.MULTILINE)
        return [[(float(score), text) for n, score, text in found if n == str(i)] for i in range(len(prompts))]

    return start


@pytest.mark.parametrize("beam", [1, 3])
def test_a_batch_of_prompts_is_continued_as_each_alone(interactive, beam):
    together, alone = interactive(PROMPTS, beam, 3), interactive(PROMPTS, beam, 1)
    for prompt, batched, single in zip(PROMPTS, together, alone):
        assert [text for _, text in batched] == [text for _, text in single]
        assert [score for score, _ in batched] == pytest.approx([score for score, _ in single], abs=1e-4)
        assert len({text for _, text in batched}) == beam
        # A word that the model does not know is written as <unk>.
        assert all(len(text.split()) > len(prompt.split()) for _, text in batched)
    # The control: another prompt in its place changes what is written.
    other = interactive([PROMPTS[2], *PROMPTS[1:]], beam, 3)
    assert other[0] == together[2] != together[0]
