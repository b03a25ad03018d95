"""The desk's pages: a mail with its draft, its sources and its checks, on top of the pages for any process."""

from pointsman_desk.web.pages import desk_pages

__all__ = ["desk_pages"]
