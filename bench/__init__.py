"""Benchmarks: each module measures one family of figures; `python -m bench [name…]` runs them."""

import os

# Tens of thousands of requests that nobody answers are what is measured here, not what is refused.
os.environ.setdefault("DUJIANG_SET_ORG_NEGOTIATIONS_OPEN_MAX", "0")
