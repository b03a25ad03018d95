"""When schedules tick: computed from the time, for clocks of any place."""

import subprocess
import sys
from datetime import UTC, datetime
from itertools import islice, takewhile
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from pointsman import DefinitionError, Process, State, cron, every
from pointsman.definition.schedules import Cron, Schedule, Ticks, newest

NOON = datetime(2026, 3, 28, 12, tzinfo=UTC).timestamp()
HOUR, DAY = 3_600.0, 86_400.0


def shown(ticks: Ticks, moment: datetime, count: int) -> list[str]:
    """The next ticks, as the clocks of the place show them."""
    return [
        datetime.fromtimestamp(tick, ticks.zone()).strftime("%m-%d %H:%M %z") for tick in islice(ticks.after(moment.timestamp(), 0), count)
    ]


def test_a_period_is_counted_from_the_first_moment() -> None:
    ticks = every("1d")

    assert list(islice(ticks.after(NOON, NOON), 2)) == [NOON + DAY, NOON + 2 * DAY]
    assert next(ticks.after(NOON + 100 * DAY, NOON)) == NOON + 101 * DAY
    assert next(ticks.after(NOON - 5 * DAY, NOON)) == NOON + DAY


@pytest.mark.parametrize("seconds", [1.1, 7.7, 86_400.0 / 7])
def test_a_period_never_skips_a_tick_nor_has_one_twice(seconds: float) -> None:
    ticks, since = every(seconds), 1_700_000_000.25
    moment = since
    for number in range(1, 2_000):
        tick = next(ticks.after(moment, since))
        assert tick == since + number * seconds
        moment = tick


def test_a_time_that_the_clocks_skip_comes_right_after_the_gap() -> None:
    spring = datetime(2026, 3, 28, 12, tzinfo=ZoneInfo("Europe/Berlin"))

    assert shown(cron("30 2 * * *", zone="Europe/Berlin"), spring, 2) == ["03-29 03:00 +0200", "03-30 02:30 +0200"]


def test_a_time_that_the_clocks_show_twice_ticks_once() -> None:
    autumn = datetime(2026, 10, 24, 12, tzinfo=ZoneInfo("Europe/Berlin"))

    assert shown(cron("30 2 * * *", zone="Europe/Berlin"), autumn, 2) == ["10-25 02:30 +0200", "10-26 02:30 +0100"]


@pytest.mark.parametrize("expression", ["30 2 * * *", "45 1,2 * * *", "0 * * * *", "15 1 * * 0"])
@pytest.mark.parametrize(
    ("zone", "since"),
    [
        ("Europe/Berlin", datetime(2026, 10, 24, 22, tzinfo=UTC)),  # an hour comes twice
        ("Europe/Berlin", datetime(2026, 3, 28, 22, tzinfo=UTC)),  # an hour is skipped
        ("Australia/Lord_Howe", datetime(2026, 4, 4, 12, tzinfo=UTC)),  # half an hour comes twice
    ],
)
def test_a_search_from_any_moment_finds_the_next_tick(expression: str, zone: str, since: datetime) -> None:
    ticks, begin = cron(expression, zone=zone), since.timestamp()
    everything = list(islice(ticks.after(begin, 0), 40))

    for moment in (begin + minute * 60 for minute in range(8 * 60)):
        assert next(ticks.after(moment, 0)) == next(tick for tick in everything if tick > moment)


def test_every_hour_ticks_through_both_of_the_hours_that_clocks_show_twice() -> None:
    autumn = datetime(2026, 10, 25, 1, 30, tzinfo=ZoneInfo("Europe/Berlin"))

    assert shown(cron("0 * * * *", zone="Europe/Berlin"), autumn, 3) == ["10-25 02:00 +0200", "10-25 02:00 +0100", "10-25 03:00 +0100"]


def test_working_days_are_those_of_the_zone() -> None:
    friday_night_in_auckland = datetime(2026, 3, 27, 20, tzinfo=ZoneInfo("Pacific/Auckland"))

    assert shown(cron("0 7 * * 1-5", zone="Pacific/Auckland"), friday_night_in_auckland, 2) == ["03-30 07:00 +1300", "03-31 07:00 +1300"]


@pytest.mark.parametrize("ticks", [every(1), every("90m"), Cron("* * * * *", "UTC"), Cron("30 2 * * *", "Europe/Berlin")])
def test_the_newest_ticks_are_the_last_of_all(ticks: Ticks) -> None:
    since, until = NOON - 400 * DAY, NOON + 3.5
    begin = NOON - 3 * DAY
    everything = list(takewhile(lambda tick: tick <= until, ticks.after(begin, since)))

    assert newest(ticks, begin, until, since, 2) == everything[-2:]
    assert newest(ticks, everything[-1], until, since, 2) == []
    assert newest(ticks, since - DAY, until, since, 1) == everything[-1:]


def test_all_that_was_missed_is_bounded() -> None:
    due, over = Schedule("s", every("1h"), {}, "all").due(NOON, NOON + 1_000 * HOUR, NOON)

    assert due == [NOON + number * HOUR for number in range(901, 1_001)]
    assert over == due[-1]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: every("0s"), "is not a finite time above 0"),
        (lambda: every(0.5), "is less than a second"),
        (lambda: cron("0 25 * * *"), "'0 25 \\* \\* \\*' is not a cron expression"),
        (lambda: cron("0 0 1 1 1#6"), "is not a cron expression"),
        (lambda: cron("0 0 30 2 *"), "is not a cron expression|matches no date"),
        (lambda: cron("0 7 * * *", zone="Europe/Bonn"), "'Europe/Bonn' is not known here"),
        (lambda: cron("0 7 * * *", zone="../etc/passwd"), "is not known here"),
        (lambda: cron("0 7 * * *", zone=None), "None is not known here"),
    ],
)
def test_what_can_never_tick_is_refused(call: Any, told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        call()


class Report(State):
    day: str
    text: str | None = None


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"inputs": {}}, r"schedule 'nightly': its inputs do not fit Report \(day: Field required\)"),
        ({"inputs": {"day": "today", "place": "here"}}, r"its inputs do not fit Report \(place"),
        ({"inputs": 7}, "inputs is a int; give it a mapping"),
        ({"inputs": {"day": "today"}, "missed": "some"}, "missed='some' is unknown"),
    ],
)
def test_a_schedule_whose_cases_could_not_start_is_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        Process("reports", Report).schedule("nightly", every("1d"), **settings)


def test_a_name_is_one_schedules() -> None:
    process = Process("reports", Report)
    process.schedule("nightly", every("1d"), inputs={"day": "today"})

    with pytest.raises(DefinitionError, match="two schedules are called 'nightly'"):
        process.schedule("nightly", every("2d"), inputs={"day": "today"})


def test_without_the_library_cron_says_which_extra_has_it() -> None:
    script = "import sys; sys.modules['cronsim'] = None; import pointsman; pointsman.every('1d'); pointsman.cron('0 7 * * *')"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert "pip install 'pointsman[cron]'" in done.stderr.splitlines()[-1]
