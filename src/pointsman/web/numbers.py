"""Numbers in addresses."""

from starlette.requests import Request

from pointsman.client.schemas import NUMBER_MAX
from pointsman.errors import UnknownCase

DIGITS_MAX = len(str(NUMBER_MAX))


def number_of(text: str | None, otherwise: int) -> int:
    """Return the number in a part of an address, or `otherwise` if it is none that the database can hold."""
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > DIGITS_MAX:
        return otherwise
    return min(int(text), NUMBER_MAX)


def case_of(request: Request) -> int:
    """Return the number of the case in the path. Raises UnknownCase if no case can have it."""
    case: int = request.path_params["case"]
    if not 1 <= case <= NUMBER_MAX:
        raise UnknownCase(case)
    return case
