"""Scrapy signals of scrapy-bgfetch.

Every handler gets the keyword arguments ``registration`` and ``spider``; those
of :data:`bgfetch_record_settled` also ``record``, those of the terminal signals
and of :data:`bgfetch_click` also ``event``. Handlers may be ``async``.
"""

bgfetch_registered = object()
bgfetch_progress = object()
bgfetch_record_settled = object()
bgfetch_success = object()
bgfetch_fail = object()
bgfetch_abort = object()
bgfetch_click = object()
