"""What a figure must be told with: how it was computed, in the form of sacrebleu's signatures."""

import importlib.metadata


def signature(metrics: str, **facts: str) -> str:
    """For example ``latency|unit:word|version:leap-fairseq-0.1.0``; the version is ours unless it is given."""
    facts = {"version": installed_version("leap-fairseq"), **facts}
    facts["version"] = facts.pop("version")
    return "|".join([metrics, *(f"{name}:{value}" for name, value in facts.items())])


def installed_version(package: str) -> str:
    """Name and version of a package; its name alone where it is used without having been installed."""
    try:
        return f"{package}-{importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return package
