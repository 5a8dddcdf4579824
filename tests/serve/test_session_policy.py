"""The policy that a listener asks for: any option of the table, for this session alone; or one message says why not."""

import json
import shutil
import subprocess

import pytest

pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'leap-fairseq[serve]'")

from live_client import HEADER, give, joined, noise, pieces, replies, served, words_of  # noqa: E402

from leap_fairseq.serve.server import PAGE  # noqa: E402
from leap_fairseq.serve.session_policy import asked_for, offered  # noqa: E402
from leap_fairseq.streaming import Policy  # noqa: E402
from leap_fairseq.streaming.policy import OPTIONS  # noqa: E402

NODE = shutil.which("node")


def asking(**options):
    return {**HEADER, "policy": options}


@pytest.fixture
def of_two(translator):
    """What the translator alone writes for some k; and the sound, as messages."""
    samples = noise(2000)
    policies = {k: translator.policy.configured(waitk_lagging=k) for k in (1, 4)}
    words = {k: words_of(translator.new_stream(policy), samples) for k, policy in policies.items()}
    assert words[1] != words[4]
    return words, pieces(samples)


def test_each_session_has_the_k_that_it_asks_for(translator, of_two):
    words, sound = of_two

    async def scenario(client):
        async with client.open() as neighbour:
            await give(neighbour, asking(waitk_lagging=4))
            async with client.open() as socket:
                await give(socket, asking(waitk_lagging="1"))
                for message in (*sound, {"end": True}):
                    await give(socket, message)
                    await give(neighbour, message)
                return await replies(socket), await replies(neighbour), await client.status()

    first, second, status = served(translator, scenario)
    assert first[0] == {"policy": "wait-1", "decision_ms": 280} and joined(first[1:]) == words[1]
    assert second[0] == {"policy": "wait-4", "decision_ms": 280} and joined(second[1:]) == words[4]
    assert status["policy"] == "wait-2" and status["policy_options"] == offered()


def test_who_asks_for_nothing_gets_that_of_the_server(translator, spoken):
    """The control; no reply comes to a header alone, as it ever was."""
    for header in (HEADER, {**HEADER, "policy": None}):
        received = served(translator, lambda client, header=header: client.translate(spoken[0], header))
        assert joined(received) == spoken[1] and "heard_ms" in received[0]
    received = served(translator, lambda client: client.translate(spoken[0], asking(waitk_lagging=None)))
    assert received[0]["policy"] == "wait-2" and joined(received[1:]) == spoken[1]


class Hasty(Policy):
    """Writes a token in each decision, from the first on."""

    decision_frames = 2

    def __init__(self, kind=None):
        self.kind = kind

    def required_frames(self, hypothesis):
        return 2 * (1 + len(hypothesis.tokens))

    def configured(self, *, kind=None, **options):
        super().configured(**options)
        return Hasty(kind)

    def __str__(self):
        return f"hasty {self.kind}"


def test_a_new_option_needs_no_change_here(translator, monkeypatch):
    monkeypatch.setitem(OPTIONS, "kind", {"choices": ("a", "b"), "help": "of haste"})
    assert offered()[-1] == {"name": "kind", "help": "of haste", "metavar": "", "choices": ["a", "b"]}
    stream = translator.new_stream(Hasty())
    received = served(stream, lambda client: client.translate(pieces(noise(800)), asking(kind="b")))
    assert received[0] == {"policy": "hasty b", "decision_ms": 80}
    assert joined(received[1:]) == words_of(translator.new_stream(Hasty()), noise(800))
    with pytest.raises(ValueError, match="hasty None, which has no --waitk-lagging: leave it out"):
        asked_for(Hasty(), {"waitk_lagging": 3})
    with pytest.raises(ValueError, match="kind of the session is 'c', but must be one of a, b"):
        asked_for(Hasty(), {"kind": "c"})


def test_all_options_of_the_table_can_be_described_and_read(translator):
    json.dumps(offered())
    assert [option["name"] for option in offered()] == list(OPTIONS) and all(option["help"] for option in offered())
    for option in offered():
        name, choices = option["name"], option["choices"] or [None]
        assert isinstance(asked_for(translator.policy, {name: choices[0]}), Policy)


REFUSED = {
    "another name": ({"k": 3}, "there is no option 'k' of a policy: choose from .*waitk_lagging"),
    "a command line": ({"waitk-lagging": 3}, "there is no option 'waitk-lagging'"),
    "zero": ({"waitk_lagging": 0}, "waitk_lagging of the session is 0: '0' must be a number of at least 1"),
    "a fraction": ({"waitk_lagging": 2.5}, "'2.5' must be a number of at least 1"),
    "nothing": ({"waitk_lagging": ""}, "'' must be a number of at least 1"),
    "an option": ({"waitk_lagging": "--help"}, "'--help' must be a number of at least 1"),
    "too many": ({"waitk_lagging": 10**200}, "lagging must be a whole number from 0 to 2305843009213693952"),
    "true": ({"waitk_lagging": True}, "waitk_lagging of the session is True, but must be a number or a text"),
    "a list": ({"waitk_lagging": [3]}, "must be a number or a text"),
    "no options": (3, "policy must be its options by name"),
    "a list of options": (["waitk_lagging"], "policy must be its options by name"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_one_message(translator, spoken, name):
    asked, reason = REFUSED[name]

    async def scenario(client):
        refused = await client.translate(spoken[0], {**HEADER, "policy": asked})
        return refused, await client.translate(spoken[0])

    (refusal,), after = served(translator, scenario)
    with pytest.raises(ValueError, match=reason) as error:
        asked_for(translator.policy, asked)
    assert refusal == {"error": str(error.value)}
    assert "\n" not in refusal["error"] and joined(after) == spoken[1]


def test_a_k_beyond_all_speech_harms_nobody(translator, spoken):
    """It waits for the end; others, who are computed together with it, do not."""

    async def scenario(client):
        async with client.open() as socket:
            await give(socket, asking(waitk_lagging=2**61))
            for message in spoken[0]:
                await give(socket, message)
            neighbour = await client.translate(spoken[0])
            await give(socket, {"end": True})
            return await replies(socket), neighbour

    received, neighbour = served(translator, scenario, workers=1)
    written = joined(received[1:])
    assert joined(neighbour) == spoken[1] and written and {word["delay"] for word in written} == {800.0}


@pytest.mark.skipif(NODE is None, reason="needs node")
@pytest.mark.parametrize(
    "fields, expected",
    [
        ([], None),
        ([("waitk_lagging", ""), ("policy", " ")], None),
        ([("waitk_lagging", " 3 "), ("policy", "")], {"waitk_lagging": "3"}),
        ([("waitk_lagging", "3"), ("policy", "hold")], {"waitk_lagging": "3", "policy": "hold"}),
    ],
)
def test_the_page_asks_for_what_is_filled_in(tmp_path, fields, expected):
    shutil.copyfile(PAGE / "policy.js", tmp_path / "policy.mjs")
    form = json.dumps({"elements": [{"name": name, "value": value} for name, value in fields]})
    program = tmp_path / "program.mjs"
    text = f"import {{ asked }} from './policy.mjs';\nconsole.log(JSON.stringify({{ policy: asked({form}) }}));\n"
    program.write_text(text, encoding="utf-8")
    found = json.loads(subprocess.run([NODE, program], check=True, capture_output=True, text=True).stdout)
    assert found == ({} if expected is None else {"policy": expected})
