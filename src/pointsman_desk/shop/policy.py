"""The shop's policy, from a file that a support lead can read and edit."""

import re
import tomllib
from collections.abc import Iterator
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, field_validator

from pointsman_desk.case import BY_HAND, Intent, Language, Policy, Tone
from pointsman_desk.errors import PolicyInvalid

_SAMPLE = Path(__file__).parents[1] / "sample" / "policy.toml"
REFUND_DAYS_MAX = 3650  # ten years; more must be a typing error
ANSWER_DAYS_MAX = 30  # the desk promises no answer after a longer wait
REPLY_CHARACTERS_MAX = 16_000  # eight pages; the checks read at most 20,000
REPLY_CHARACTERS_MIN = 500  # the reviewed templates need about that many

LINK = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+(/[A-Za-z0-9/_.-]*)?")  # a host in lower case, with an optional path

_Line = Annotated[str, Field(min_length=1)]
_Lines = tuple[Annotated[str, Field(min_length=4)], ...]  # a shorter one would allow every text that contains it


class _Written(Policy):
    """A policy with the rules for its values."""

    version: _Line
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    refund_days: Annotated[int, Field(strict=True, ge=0, le=REFUND_DAYS_MAX)]
    refund_max: Annotated[Decimal, Field(ge=0, allow_inf_nan=False, decimal_places=2)]
    shipping_refunded_when_late: Annotated[bool, Field(strict=True)]
    approved_tones: Annotated[tuple[Tone, ...], Field(min_length=1)]
    links_allowed: _Lines = ()
    contacts_allowed: _Lines = ()
    discount_codes: _Lines = ()
    discount_percent_max: Annotated[int, Field(strict=True, ge=0, le=100)] = 0
    answer_days: Annotated[int, Field(strict=True, ge=1, le=ANSWER_DAYS_MAX)] | None = None
    reply_characters_max: Annotated[int, Field(strict=True, ge=REPLY_CHARACTERS_MIN, le=REPLY_CHARACTERS_MAX)] = 4000
    phrases_forbidden: Annotated[dict[Language, tuple[_Line, ...]], Field(default_factory=dict)]

    @field_validator("automatic")
    @classmethod
    def _leave_the_risky_to_people(cls, intents: tuple[Intent, ...]) -> tuple[Intent, ...]:
        risky = [intent.value for intent in intents if intent in BY_HAND]
        if risky:
            raise ValueError(f"{', '.join(risky)} cannot be automatic; remove it")
        return intents

    @field_validator("links_allowed")
    @classmethod
    def _name_hosts(cls, links: tuple[str, ...]) -> tuple[str, ...]:
        odd = [link for link in links if not LINK.fullmatch(link)]
        if odd:
            raise ValueError(f"{', '.join(odd)} is not a host such as www.shop.example/returns; write it in lower case, without https://")
        return links

    @field_validator("opening_hours", "signature")
    @classmethod
    def _speak_every_language(cls, texts: dict[Language, str]) -> dict[Language, str]:
        silent = [language.value for language in Language if not texts.get(language, "").strip()]
        if silent:
            raise ValueError(f"a text is missing for {', '.join(silent)}")
        return texts


class PolicyFile:
    """The policy in the TOML file at `path`. It is read at each call, so that a change applies from the next reply, and parsed if it changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: tuple[bytes, Policy] | None = None

    def current(self) -> Policy:
        """Return the policy. Raises PolicyInvalid with every problem of the file, each with its key."""
        try:
            content = self._path.read_bytes()
            if self._last is not None and self._last[0] == content:
                return self._last[1]
            # Amounts are parsed as decimals, because 150.10 has no exact binary value.
            written = tomllib.loads(content.decode(), parse_float=Decimal)
        except FileNotFoundError as error:
            raise PolicyInvalid(f"the policy file {self._path} is missing; restore it, or copy {_SAMPLE} to it and edit it.") from error
        except (OSError, UnicodeDecodeError) as error:
            raise PolicyInvalid(f"the policy file {self._path} cannot be read: {error}") from error
        except tomllib.TOMLDecodeError as error:
            raise PolicyInvalid(f"the policy file {self._path} is not valid TOML: {error}") from error
        try:
            checked = _Written.model_validate(written)
        except ValidationError as error:
            problems = "; ".join(_problems(error))
            raise PolicyInvalid(f"the policy file {self._path} is invalid: {problems}") from error
        policy = Policy.model_validate(checked.model_dump())
        self._last = (content, policy)
        return policy


def _problems(error: ValidationError) -> Iterator[str]:
    for problem in error.errors(include_url=False):
        # Pydantic reports a key of a table as the table's name, the key and "[key]"; the file's reader looks for the key.
        key = ".".join(str(part) for part in problem["loc"] if part != "[key]")
        if problem["type"] == "missing":
            yield f"{key}: missing"
        elif problem["type"] == "extra_forbidden":
            near = get_close_matches(key, _Written.model_fields, n=1)
            yield f"{key}: unknown key" + (f"; did you mean {near[0]}?" if near else "")
        else:
            yield f"{key}: {problem['msg'].removeprefix('Value error, ')}"
