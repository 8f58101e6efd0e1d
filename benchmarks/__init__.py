"""Compares scrapy-bgfetch with its peers: ``python -m benchmarks``."""
