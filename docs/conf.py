"""Sphinx builds the docs with this: ``sphinx-build -W --keep-going -n docs ...``."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "scrapy-bgfetch"
author = "The scrapy-bgfetch developers"
version = release = installed_version("scrapy-bgfetch")

extensions = ["sphinx.ext.autodoc", "sphinx_copybutton", "bgfetch_docs"]
html_theme = "furo"
html_title = f"scrapy-bgfetch {version}"
exclude_patterns = ["_build"]

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_typehints = "signature"
copybutton_prompt_text = "$ "

# Other projects' inventories would need the network; the rest are names that
# stand in annotations only.
nitpick_ignore = [
    ("py:class", name)
    for name in (
        "BackgroundFetchRecord",
        "BackgroundFetchRegistration",
        "BinaryIO",
        "Body",
        "BaseSettings",
        "Head",
        "Integrity",
        "Listener",
        "Matches",
        "OneRequest",
        "Path",
        "Request",
        "Response",
        "collections.abc.Mapping",
        "os.PathLike",
        "pathlib.Path",
        "scrapy.Request",
        "scrapy.exceptions.CloseSpider",
        "scrapy.http.request.Request",
        "scrapy.http.response.Response",
        "scrapy_bgfetch.model.StrEnum",
        "timedelta",
    )
]
