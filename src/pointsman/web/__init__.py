"""The pages for any process: what waits, a case and its reasons. Rendered on the server; every decision works without JavaScript."""

from pointsman.web.pages import pages

__all__ = ["pages"]
