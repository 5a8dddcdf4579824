"""`leap-fairseq prepare covost`, from a checkout."""

import _checkout

if __name__ == "__main__":
    _checkout.run("covost")
