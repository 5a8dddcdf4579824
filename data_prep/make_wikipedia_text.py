"""`leap-fairseq prepare wikipedia`, from a checkout."""

import _checkout

if __name__ == "__main__":
    _checkout.run("wikipedia")
