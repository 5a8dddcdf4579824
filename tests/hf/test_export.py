"""From a checkpoint of fairseq-train to a folder that transformers loads, in a process without fairseq too."""

import json
import os
import re
import shutil
import subprocess
import sys

import lm_runs
import pytest
import torch
from exported_model import write_model
from fairseq.data import Dictionary
from tiny_models import make_dictionary
from tolerances import assert_same

pytest.importorskip("transformers")

from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

from leap_fairseq.cli import main  # noqa: E402
from leap_fairseq.models import LeapTransformerLanguageModel  # noqa: E402
from leap_fairseq.models.text_session import TextSession  # noqa: E402
from leap_fairseq.prepare.wikitext import prep_wikitext  # noqa: E402

PROMPT = "w1 w2 w3 w4"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a training, with the data in "data"."""
    folder = tmp_path_factory.mktemp("lm")
    (folder / "data").mkdir()
    lm_runs.write_text(folder / "data")
    words = Dictionary()
    for number in range(20 - len(words)):
        words.add_symbol(f"w{number}")
    words.save(str(folder / "data" / "dict.txt"))
    return lm_runs.train(folder / "data", folder / "save", lm_runs.BATCHES["leap_language_modeling"], 3)


def export(trained, out, *options, checkpoint=None):
    path = str(checkpoint or trained / "checkpoint_last.pt")
    return main(["export", path, str(out), "--format", "huggingface", *options])


@pytest.fixture(scope="module")
def folder(trained):
    out = trained / "exported"
    assert export(trained, out) == 0
    return out


@pytest.fixture(scope="module")
def hub(trained):
    return LeapTransformerLanguageModel.from_pretrained(trained, "checkpoint_last.pt", str(trained.parent / "data"))


@torch.no_grad()
def test_loaded_it_writes_what_fairseq_writes(folder, hub):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer(PROMPT, return_tensors="pt")
    assert_same(model(**prompt).logits, hub.models[0](prompt["input_ids"])[0])
    expected = hub.sample(PROMPT, beam=1, max_len_b=20).split()
    out = model.generate(**prompt, max_new_tokens=20)[0]
    written = tokenizer.decode(out, skip_special_tokens=True).split()
    assert len(expected) > 5 and written[: len(expected)] == expected
    again = folder.with_name("again")
    model.save_pretrained(again)
    assert_same(AutoModelForCausalLM.from_pretrained(again)(**prompt).logits, model(**prompt).logits)
    assert (folder / "model.safetensors").is_file()
    assert model.decoder.output_projection.weight is model.decoder.embed_tokens.weight


REMOTE = """
import json, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("fairseq", "omegaconf", "hydra", "simuleval"):
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocked())
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1], trust_remote_code=True)
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True)
print(json.dumps(model(**tokenizer("w0 w1", return_tensors="pt")).logits.tolist()))
"""


@torch.no_grad()
def test_as_remote_code_in_a_process_without_fairseq(folder, tmp_path, hub):
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", REMOTE, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    logits = torch.tensor(json.loads(done.stdout.splitlines()[-1]))
    assert_same(logits, hub.models[0](torch.tensor([[2, 4, 5]]))[0])


@torch.no_grad()
def test_half_types(trained, tmp_path, hub):
    assert export(trained, tmp_path / "half", "--dtype", "bfloat16") == 0
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "half")
    assert model.dtype == torch.bfloat16
    tokens = torch.tensor([[2, 4, 5, 6]])
    assert_same(model(tokens).logits.float(), hub.models[0](tokens)[0], torch.bfloat16)


REFUSALS = {
    "characters": ({"character_embeddings": True}, "--character-embeddings is not exported"),
    "quantisation": ({"quant_noise_pq": 0.1}, "--quant-noise-pq 0.1 is not exported"),
    "scalar quantisation": ({"quant_noise_scalar": 0.1}, "--quant-noise-scalar 0.1 is not exported"),
    "softmax": ({"decoder_self_attention": "softmax"}, "--decoder-self-attention softmax.*leap-fairseq convert"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_what_cannot_be_carried_over_is_refused_by_its_name(trained, tmp_path, capsys, what):
    options, message = REFUSALS[what]
    state = torch.load(trained / "checkpoint_last.pt", weights_only=False)
    for name, value in options.items():
        assert name in state["cfg"]["model"]
        state["cfg"]["model"][name] = value
    torch.save(state, tmp_path / "changed.pt")
    assert export(trained, tmp_path / "out", checkpoint=tmp_path / "changed.pt") == 1
    assert re.search(message, capsys.readouterr().err) and not (tmp_path / "out").exists()


def test_pieces_other_models_other_folders_and_other_dictionaries(trained, tmp_path, capsys):
    pieces = tmp_path / "pieces"
    pieces.mkdir()
    make_dictionary().save(str(pieces / "dict.txt"))
    assert export(trained, tmp_path / "out", "--data-bin", str(pieces)) == 1
    assert re.search("checksum", capsys.readouterr().err)
    state = torch.load(trained / "checkpoint_last.pt", weights_only=False)
    del state["model"]["decoder.dictionary_crc32"]
    torch.save(state, tmp_path / "pieces.pt")
    options = ("--data-bin", str(pieces))
    assert export(trained, tmp_path / "out", *options, checkpoint=tmp_path / "pieces.pt") == 1
    assert re.search("has pieces of SentencePiece.*but no sentencepiece.bpe.model", capsys.readouterr().err)
    translator = write_model(tmp_path / "translator") / "checkpoint.pt"
    assert export(trained, tmp_path / "out", checkpoint=translator) == 1
    assert re.search("holds a leap_convtransformer_simul_trans.*is for a leap_transformer_lm", capsys.readouterr().err)
    assert export(trained, pieces) == 1
    assert re.search("holds something that is not an exported language model", capsys.readouterr().err)
    assert not (tmp_path / "out").exists() and [path.name for path in pieces.iterdir()] == ["dict.txt"]


@pytest.fixture(scope="module")
def in_pieces(tmp_path_factory):
    """Folders of a training on pieces and of its data."""
    folder = tmp_path_factory.mktemp("pieces")
    lines = ["the value of the größer value", "", "other values of others", "<unk> is the value"] * 40
    for split in ("train", "valid"):
        (folder / f"{split}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    prep_wikitext([folder], out=folder / "data", any_text=True, vocab_type="bpe", vocab_size=320)
    return lm_runs.train(
        folder / "data", folder / "save", lm_runs.BATCHES["leap_language_modeling"], 3
    ), folder / "data"


@torch.no_grad()
def test_pieces_are_read_and_written_as_in_fairseq(in_pieces, tmp_path):
    save, data = in_pieces
    hub = LeapTransformerLanguageModel.from_pretrained(save, "checkpoint_last.pt", str(data))
    text = "the größte value 日 of <unk>"
    numbers = hub.encode(text)
    assert hub.decode(numbers) == text and numbers[-1] == 2 and len(numbers) > len(text.split())
    assert export(save, tmp_path / "out") == 0
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    prompt = tokenizer(text, return_tensors="pt")
    assert prompt["input_ids"][0, 1:].tolist() == numbers[:-1].tolist()
    assert_same(model(**prompt).logits, hub.models[0](prompt["input_ids"])[0])
    session = TextSession(hub.models[0])
    session.read(numbers[:-1])
    written = session.generate(8)
    out = model.generate(**prompt, max_new_tokens=8, eos_token_id=None)[0, prompt["input_ids"].shape[1] :]
    assert out.tolist() == written
    assert tokenizer.decode(out, skip_special_tokens=True).strip() == hub.decode(torch.tensor(written))
    assert hub.sample("the value", beam=1, max_len_b=5).startswith("the value")


def test_pieces_of_another_preparation_are_refused(in_pieces, tmp_path, capsys):
    other = shutil.copytree(in_pieces[1], tmp_path / "data")
    text = tmp_path / "train.txt"
    text.write_text("another text of other words\n" * 9)
    prep_wikitext(train=text, out=tmp_path / "new", any_text=True, vocab_type="bpe", vocab_size=300)
    shutil.copy(tmp_path / "new/sentencepiece.bpe.model", other)
    assert export(in_pieces[0], tmp_path / "out", "--data-bin", str(other)) == 1
    assert re.search("has other pieces than.*both must be of one preparation", capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_a_weight_that_is_too_large(trained, tmp_path, capsys):
    state = torch.load(trained / "checkpoint_last.pt", weights_only=False)
    state["model"]["decoder.layers.0.fc1.bias"][0] = 1e5
    torch.save(state, tmp_path / "large.pt")
    assert export(trained, tmp_path / "out", "--dtype", "float16", checkpoint=tmp_path / "large.pt") == 1
    assert re.search("decoder.layers.0.fc1.bias has a weight that is too large", capsys.readouterr().err)
