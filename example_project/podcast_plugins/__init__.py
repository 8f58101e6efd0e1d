"""A plug-in for scrapy-bgfetch: names audio files, measures them, writes manifests."""

from podcast_plugins.plugin import AudioManifest

__all__ = ["AudioManifest"]
