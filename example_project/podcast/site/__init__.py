"""A podcast site on this machine, made on the spot: ``python -m podcast.site``."""
