"""Implementations of the kernel's Protocols; nothing here knows an act."""
