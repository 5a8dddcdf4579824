"""A live page: a browser sends speech, words come back while it is being spoken.

``leap-fairseq serve --model DIR`` starts it. :mod:`leap_fairseq.serve.session` is one listener, without a socket;
:mod:`leap_fairseq.serve.server` is the server, which needs aiohttp (``pip install 'leap-fairseq[serve]'``).
"""
