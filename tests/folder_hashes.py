"""A fixture of the rooms that write folders: what a folder holds, byte for byte."""

import hashlib

import pytest


@pytest.fixture(scope="session")
def hashes():
    """A function: the sha256 of every file in a folder, hidden ones included."""

    def of(folder):
        files = (path for path in sorted(folder.rglob("*")) if path.is_file())
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    return of
