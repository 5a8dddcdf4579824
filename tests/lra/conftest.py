"""What the tests of Long-Range Arena share."""

from folder_hashes import hashes  # noqa: F401
