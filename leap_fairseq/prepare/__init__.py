"""Data preparation: corpora, lists for evaluation, synthetic corpora, texts. One module a command, each a library too.

`leap-fairseq prepare NAME` runs a command of the table; nothing is imported here, so that the list of them is quick.
"""

COMMANDS = {
    "mustc": ("leap_fairseq.prepare.mustc", "MuST-C, or a corpus in its layout, for fairseq's speech_to_text"),
    "mtedx": ("leap_fairseq.prepare.mtedx", "Multilingual TEDx, likewise"),
    "europarl-st": ("leap_fairseq.prepare.europarl_st", "Europarl-ST, likewise"),
    "covost": ("leap_fairseq.prepare.covost", "CoVoST 2 and Common Voice, likewise"),
    "lists": ("leap_fairseq.prepare.lists", "wavs and lists of one split for SimulEval"),
    "travel": ("leap_fairseq.prepare.travel.corpus", "a synthetic corpus: travel phrases, spoken by py-nanotts"),
    "digits": ("leap_fairseq.prepare.digits", "a synthetic corpus: digit strings of real recordings"),
    "wikitext": ("leap_fairseq.prepare.wikitext", "WikiText-103, or another text, for language modelling"),
    "wikipedia": ("leap_fairseq.prepare.wikipedia", "Wikipedia text of several forms in the form of WikiText"),
    "pydoc": ("leap_fairseq.prepare.pydoc_text", "a small English text that every Python carries"),
    "lra": ("leap_fairseq.lra.prepare", "a task of Long-Range Arena, made or read"),
}
"""Name of each command: its module, and a line of help."""
