"""What ends a measurement: one clear line."""


class PeerError(Exception):
    """A peer, or the program itself, cannot be had or does not do what it should."""
