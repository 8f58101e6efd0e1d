"""The settings of the project; what the example is about comes first."""

from pathlib import Path

ADDONS = {"scrapy_bgfetch.Addon": 500}

PROJECT = Path(__file__).resolve().parent.parent
DEMO_DATA = PROJECT / "demo-data"
FEEDS_DATA = str(DEMO_DATA / "feeds")  # a folder in it for each -a feed=URL

BGFETCH_DIR = str(DEMO_DATA / "bgfetch")
BGFETCH_PLUGINS = ["podcast_plugins.AudioManifest"]

# The demo site, started with the crawl and ended with it.
DEMO_SITE_RATE = 3.0  # MB/s for each connection: slow enough to watch, and to kill
DEMO_SITE_PORT = 0  # the one of the last time, at first any that is free

EXTENSIONS = {
    "podcast.console.Warnings": 100,
    "podcast.demo_site.DemoSite": 200,
    "podcast.progress.ProgressDisplay": 600,
    "podcast.table.SummaryTable": 700,
}

BOT_NAME = "podcast"
SPIDER_MODULES = ["podcast.spiders"]
NEWSPIDER_MODULE = "podcast.spiders"

# Real feeds: put an address here at which you can be reached.
USER_AGENT = "podcast-example/0.1 (an example of scrapy-bgfetch; no contact set)"
ROBOTSTXT_OBEY = True
# No delay, and all slots for one host: that host is this machine. With
# -a feed=URL the spider sets a delay and two connections instead.
DOWNLOAD_DELAY = 0
CONCURRENT_REQUESTS_PER_DOMAIN = 8

# The log goes to a file, its warnings to the terminal too (podcast.console), so
# that the progress display can be read.
DEMO_DATA.mkdir(exist_ok=True)
LOG_FILE = str(DEMO_DATA / "crawl.log")
LOG_LEVEL = "INFO"
TELNETCONSOLE_ENABLED = False
