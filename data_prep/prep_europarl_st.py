"""`leap-fairseq prepare europarl-st`, from a checkout."""

import _checkout

if __name__ == "__main__":
    _checkout.run("europarl-st")
