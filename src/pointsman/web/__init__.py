"""The pages for any process: what waits, a case and its reasons. Rendered on the server; every decision works without JavaScript.

An application adds pages of its own with `pages(...)`; their handlers use the other names.
"""

from pointsman.server.access import Principal, Scope, permit
from pointsman.server.forms import Form, form_of
from pointsman.web.differences import Piece, word_difference
from pointsman.web.numbers import case_of
from pointsman.web.pages import pages
from pointsman.web.render import CasePage, TaskPage, WorkListPage, page
from pointsman.web.task import next_path, show_again, shown_under
from pointsman.web.waiting import filters_of

__all__ = [
    "CasePage", "Form", "Piece", "Principal", "Scope", "TaskPage", "WorkListPage", "case_of", "filters_of", "form_of", "next_path", "page", "pages", "permit",
    "show_again", "shown_under", "word_difference",
]  # fmt: skip
