"""Benchmarks: each module measures one family of figures; `python -m bench [name…]` runs them."""
