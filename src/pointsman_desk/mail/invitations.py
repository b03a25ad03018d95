"""Convert an invitation (iCalendar, RFC 5545) to text."""

import re

CALENDAR_MAX = 64 * 1024  # characters that are read; an invitation with its time zones has a few thousand
EVENTS_MAX = 20  # an invitation has one

_FOLD = re.compile(r"\r?\n[ \t]")
_LINE = re.compile(r'([A-Za-z-]{1,40})((?:;[^:;"]{0,200}(?:"[^"]{0,200}")?[^:;"]{0,200}){0,20}):(.*)')
_NAME = re.compile(r';CN="?([^;":]{1,200})', re.IGNORECASE)
_ZONE = re.compile(r';TZID="?([^;":]{1,100})', re.IGNORECASE)
_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(?:\d\d)?(Z?))?$")
_TOLD = {
    "SUMMARY": "Invitation",
    "STATUS": "Status",
    "DTSTART": "Begins",
    "DTEND": "Ends",
    "LOCATION": "Place",
    "ORGANIZER": "Organiser",
    "DESCRIPTION": "",
    "COMMENT": "",
}
_ESCAPE = re.compile(r"\\(.)")


def invitation_text(source: str) -> str:
    """Return the events and tasks of a calendar as text: title, time, place, organiser and description; "" for none."""
    events: list[dict[str, str]] = []
    open_ = False
    for line in _FOLD.sub("", source[:CALENDAR_MAX]).splitlines():
        found = _LINE.match(line.strip())
        if found is None:
            continue
        name, parameters, value = found[1].upper(), found[2], found[3]
        if name in {"BEGIN", "END"} and value.upper() in {"VEVENT", "VTODO", "VJOURNAL"}:
            open_ = name == "BEGIN"
            events += [{}] if open_ else []
        elif open_ and name in _TOLD:
            events[-1].setdefault(name, _value(name, parameters, value))
    return "\n\n".join(_lines(event) for event in events[:EVENTS_MAX] if event)


def _lines(event: dict[str, str]) -> str:
    return "\n".join(f"{label}: {event[name]}" if label else event[name] for name, label in _TOLD.items() if event.get(name))


def _value(name: str, parameters: str, value: str) -> str:
    if name == "ORGANIZER":
        named = _NAME.search(parameters)
        address = value.strip().removeprefix("mailto:").removeprefix("MAILTO:")
        return f"{named[1]} <{address}>" if named else address
    if name.startswith("DT"):
        zone = _ZONE.search(parameters)
        time = _TIME.match(value.strip())
        if time is None:
            return value
        day = f"{time[1]}-{time[2]}-{time[3]}"
        return day if time[4] is None else f"{day} {time[4]}:{time[5]}{' UTC' if time[6] else ''}{f' ({zone[1]})' if zone else ''}"
    return _ESCAPE.sub(lambda found: "\n" if found[1] in "nN" else found[1], value)
