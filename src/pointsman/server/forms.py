"""Forms that a browser sends: they must come from our own pages, and be small. No other request of a browser changes anything."""

import hmac
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request

from pointsman.server.access import Forbidden, Principal

FORM_BYTES_MAX = 1024 * 1024  # an edited text of 100,000 characters, of which each becomes nine when it is percent-encoded
FORM_FIELDS_MAX = 2_000  # a form has tens; a row of a list is one
CSRF = "csrf"  # the hidden field of every form
MEDIA_TYPE = "application/x-www-form-urlencoded"


class FormTooLarge(Exception):
    """The form is larger than FORM_BYTES_MAX, or has more fields than FORM_FIELDS_MAX; the answer is 413."""


class FormInvalid(Exception):
    """The body is not a form; the answer is 400. The message says what it is instead."""


class Form(Mapping[str, str]):
    """What a browser sent: the last value of each field; `all_of` gives every value of one. Line ends are line feeds."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value.replace("\r\n", "\n"))

    def __getitem__(self, name: str) -> str:
        return self._values[name][-1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def all_of(self, name: str) -> tuple[str, ...]:
        """Return every value of a field, such as those of its checked boxes."""
        return tuple(self._values.get(name, ()))

    def renamed(self, names: Mapping[str, str | None]) -> "Form":
        """Return a form with other names for some fields; a field whose new name is None is left out."""
        found = ((names.get(name, name), value) for name, values in self._values.items() for value in values)
        return Form([(name, value) for name, value in found if name is not None])


class FormOutdated(Forbidden):
    """The form comes from this site, and its token from an earlier run of the program or another session. It has what was entered."""

    def __init__(self, form: Form) -> None:
        super().__init__(
            "The form is from before the program was started, or from another session. Go back, reload the page, and send it again."
        )
        self.form = form


def csrf_token(request: Request, who: Principal) -> str:
    """Return the token that every form carries: the caller's name and session, signed with a key that only this program has."""
    key: bytes = request.app.state.form_key
    return hmac.new(key, f"{who.session} {who.name}".encode(), "sha256").hexdigest()


async def form_of(request: Request, who: Principal) -> Form:
    """Return the form of a POST from one of our own pages. Raises FormOutdated, Forbidden, FormTooLarge, FormInvalid."""
    _check_origin(request)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != MEDIA_TYPE:
        raise FormInvalid(f"the body is {media_type or 'of no type'}; send {MEDIA_TYPE}.")
    try:
        pairs = parse_qsl(await _body(request), keep_blank_values=True, max_num_fields=FORM_FIELDS_MAX)
    except UnicodeDecodeError:
        raise FormInvalid("the form is not UTF-8.") from None
    except ValueError:
        raise FormTooLarge(f"the form has more than {FORM_FIELDS_MAX:,} fields.") from None
    form = Form(pairs)
    if not hmac.compare_digest(form.get(CSRF, "").encode(), csrf_token(request, who).encode()):
        raise FormOutdated(form)
    return form


async def _body(request: Request) -> str:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES_MAX:
            raise FormTooLarge(f"the form is larger than {FORM_BYTES_MAX // 1024:,} KiB.")
    return body.decode()


def _check_origin(request: Request) -> None:
    """Refuse a form from another site (https://www.w3.org/TR/fetch-metadata/; RFC 6454, 7). A browser sends at least one of both headers."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    same = site == "same-origin" if site is not None else origin is not None and urlsplit(origin).netloc == request.headers.get("host")
    if not same:
        raise Forbidden("The form was sent from another site; open the page here and send it again.")
