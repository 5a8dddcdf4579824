"""The tasks of Long-Range Arena, made or read from disk; `prep_lra` is the way in."""
