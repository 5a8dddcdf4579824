"""LeaPformer for fairseq: linear attention with learned proportions (pass this folder to ``--user-dir``).

Importing it loads and changes nothing else. What fairseq needs registers when :mod:`leap_fairseq.models` and
:mod:`leap_fairseq.tasks` are imported, which fairseq does for a ``--user-dir``.
"""


class _UserDir(list):
    """The folders of the package, where fairseq looks for a ``--user-dir`` that was imported before.

    fairseq 0.12 imports ``models/`` and ``tasks/`` of a user-dir, unless the package is loaded already, as it is once a
    program has used :mod:`leap_fairseq.attention`: then it only asks whether the folder is among these, and expects
    everything to be registered.

    Source:
        ``fairseq.utils.import_user_module``.
    """

    def __contains__(self, folder: object) -> bool:
        ours = super().__contains__(folder)
        if ours:
            import leap_fairseq.models
            import leap_fairseq.tasks  # noqa: F401
        return ours


__path__ = _UserDir(__path__)
