"""A Scrapy project that downloads the episodes of a podcast in the background."""
