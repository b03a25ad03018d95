"""Against a real server on loopback: each thing that goes wrong is an answer with violations, or an error that says who must act."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal

import httpx
import pytest
from pydantic import BaseModel, Field

from later import LATER_SECONDS, run_until_late
from mappings.http_faults import closed_port, full_backlog
from models.openai_server import Remote
from pointsman import DefinitionError, ModelResponse, NoModelResponse, NotSent, Rejected, Usage
from pointsman.models import Message, OpenAICompatible, Price, Task, openai_compatible
from pointsman.models.openai_compatible import ANSWER_BYTES_MAX

KEY = "sk-secret-0123456789"
CUT_SECONDS = 1.0  # of an attempt that gets no connection
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
QUESTION = [Message("system", "Classify."), Message("user", "I want my money back for order A-1001.")]


class Triage(BaseModel):
    intent: Literal["refund", "order_status", "unclear"]
    score: Annotated[int, Field(ge=0, le=5)]
    note: str | None = None


GOOD = Triage(intent="refund", score=1)


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stands still for a while gets its connection all the same."""
    monkeypatch.setattr(openai_compatible, "CONNECT_SECONDS_MAX", LATER_SECONDS)


def ask(
    server: Remote | str, messages: Sequence[Message] = QUESTION, schema: Any = Triage, late: Callable[[], object] | None = None, **settings: Any
) -> ModelResponse[Any]:  # fmt: skip
    """Ask the model. When `late` holds, its time is over."""
    url = server if isinstance(server, str) else server.url
    model = OpenAICompatible("desk", base_url=url, api_key=KEY, **({"timeout_seconds": LATER_SECONDS} | settings))
    asked = model.ask(Task("classify"), messages, schema)
    return asyncio.run(asked) if late is None else run_until_late(asked, late)


def failure(server: Remote, *faults: Any, **settings: Any) -> Exception:
    """How an attempt fails; it made one request, and what it says holds no key."""
    server.will(*faults)
    with pytest.raises((NotSent, NoModelResponse, Rejected)) as raised:
        ask(server, **settings)
    assert server.counted()["requests"] == 1
    assert KEY not in f"{raised.value!r}{raised.value.__cause__!r}"
    return raised.value


def told(server: Remote, fault: dict[str, Any]) -> list[str]:
    """What is wrong with an answer, which is kept and has been counted all the same."""
    server.will(fault)
    attempt = ask(server)
    assert attempt.output is None
    assert {violation.check for violation in attempt.violations} == {"schema"}
    assert attempt.usage.output_tokens == server.counted()["completion_tokens"]
    assert attempt.raw == (fault.get("content", attempt.raw) or "")
    return [violation.message for violation in attempt.violations]


def test_an_answer_is_a_value_with_its_text_and_its_usage(server: Remote) -> None:
    attempt = ask(server, price=Price(1, 2), name="small")

    counted = server.counted()
    assert (attempt.output, attempt.model, attempt.violations) == (GOOD, "small", ())
    assert Triage.model_validate_json(attempt.raw) == GOOD
    assert attempt.usage == Price(1, 2).usage(counted["prompt_tokens"], counted["completion_tokens"])
    assert attempt.usage.cost > Decimal(0)
    assert counted["requests"] == 1


def test_the_request_is_what_the_documentation_asks_for(server: Remote) -> None:
    ask(server, extra={"seed": 1}, max_tokens=None)

    last = server.counted()["last"]
    schema = last["body"]["response_format"]["json_schema"]
    assert last["headers"]["authorization"] == f"Bearer {KEY}"
    assert {key: last["body"][key] for key in ("model", "temperature", "stream", "seed")} == {
        "model": "desk", "temperature": 0.0, "stream": False, "seed": 1,
    }  # fmt: skip
    assert "max_tokens" not in last["body"]
    assert last["body"]["messages"] == [message._asdict() for message in QUESTION]
    assert (schema["name"], schema["strict"], schema["schema"]["additionalProperties"]) == ("Triage", True, False)
    assert schema["schema"]["required"] == ["intent", "score", "note"]


@pytest.mark.parametrize(("mode", "form"), [("object", {"type": "json_object"}), ("prompt", None)])
@pytest.mark.parametrize("messages", [QUESTION, QUESTION[1:]], ids=["a system message", "none"])
def test_a_server_without_schemas_is_told_the_schema_in_one_system_message(
    server: Remote, mode: str, form: Any, messages: list[Message]
) -> None:
    server.will({"content": GOOD.model_dump_json()})

    attempt = ask(server, messages, json_mode=mode)

    body = server.counted()["last"]["body"]
    assert attempt.output == GOOD
    assert body.get("response_format") == form
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert '"refund"' in body["messages"][0]["content"]


# An answer came: it is kept, paid for and can be repaired.


def test_a_wrong_enum_is_told_with_what_is_allowed(server: Remote) -> None:
    assert told(server, {"change": {"intent": "please_wire_money"}}) == [
        "`intent` is \"please_wire_money\"; it must be 'refund', 'order_status' or 'unclear'"
    ]


def test_a_number_out_of_range_is_told_with_its_bound(server: Remote) -> None:
    assert told(server, {"change": {"score": 99}}) == ["`score` is 99: it should be less than or equal to 5"]


def test_a_missing_field_is_told(server: Remote) -> None:
    assert told(server, {"without": ["score"]}) == ["`score` is missing; it must be a whole number"]


def test_a_truncated_answer_is_told_to_be_shorter(server: Remote) -> None:
    assert told(server, {"content": '{"intent": "ref', "finish_reason": "length"}) == [
        "the answer was cut short at its limit of 2048 tokens (max_tokens); answer more briefly"
    ]


def test_an_answer_that_was_complete_when_its_limit_came_counts(server: Remote) -> None:
    server.will({"finish_reason": "length"})

    assert ask(server).output == GOOD


@pytest.mark.parametrize("content", ["", None, "  \n"])
def test_an_empty_answer_is_told(server: Remote, content: str | None) -> None:
    assert told(server, {"content": content}) == ["the answer is empty; answer with one JSON object"]


def test_a_refusal_is_told_in_the_models_words(server: Remote) -> None:
    assert told(server, {"message": {"content": None, "refusal": "I cannot help with that."}}) == [
        "the model refused to answer: I cannot help with that."
    ]


def test_an_answer_that_the_providers_filter_stopped_is_told(server: Remote) -> None:
    assert told(server, {"content": "", "finish_reason": "content_filter"}) == [
        "the provider's content filter stopped the answer; answer in other words"
    ]


def test_an_answer_in_prose_is_told(server: Remote) -> None:
    (message,) = told(server, {"content": "That sounds like a refund!"})

    assert message.startswith("the answer is not JSON (")


def test_an_answer_between_code_fences_counts(server: Remote) -> None:
    server.will({"content": f"```json\n{GOOD.model_dump_json()}\n```"})

    assert ask(server).output == GOOD


def test_what_no_store_holds_is_cleaned_from_the_raw_answer(server: Remote) -> None:
    server.will({"content": "\ud83d\0"})

    assert ask(server).raw == "??"


def test_what_no_server_takes_is_cleaned_from_the_question(server: Remote) -> None:
    ask(server, [Message("user", "refund \ud83d\0")])

    assert server.counted()["last"]["body"]["messages"] == [{"role": "user", "content": "refund ??"}]


@pytest.mark.parametrize("usage", [None, "many", {}, {"prompt_tokens": -5, "completion_tokens": "7"}, [1], {"prompt_tokens": 10**30}])
def test_a_usage_that_is_missing_or_nonsense_counts_nothing(server: Remote, usage: Any) -> None:
    server.will({"usage": usage})

    attempt = ask(server, price=Price(1, 1))

    assert (attempt.output, attempt.usage) == (GOOD, Usage())


# No answer came: nobody worked on the question.


def test_a_refused_connection_was_not_sent(server: Remote) -> None:
    with closed_port() as port, pytest.raises(NotSent, match=rf"desk at 127.0.0.1:{port} cannot be reached .*check base_url"):
        ask(f"http://127.0.0.1:{port}/v1")


def test_a_name_that_nobody_has_was_not_sent(server: Remote) -> None:
    with pytest.raises(NotSent, match=r"model\.invalid cannot be reached"):
        ask("http://model.invalid/v1")


def test_a_server_that_speaks_no_tls_got_nothing(server: Remote) -> None:
    with pytest.raises(NotSent):
        ask(server.url.replace("http:", "https:"))
    assert server.counted()["requests"] == 0


def test_a_connection_that_nobody_accepts_in_time_was_not_sent(server: Remote) -> None:
    with full_backlog() as port, pytest.raises(NotSent):
        ask(f"http://127.0.0.1:{port}/v1", timeout_seconds=CUT_SECONDS)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    "headers", [{"Retry-After": "7"}, {"Date": DATE, "Retry-After": "Sun, 06 Nov 1994 08:49:44 GMT"}], ids=["seconds", "date"]
)
def test_a_busy_server_says_how_long_to_wait(server: Remote, status: int, headers: dict[str, str]) -> None:
    error = failure(server, {"status": status, "headers": headers, "body": {"error": {"message": "slow down"}}})

    assert isinstance(error, NotSent)
    assert (error.retry_after, str(error).endswith(f" is busy ({status}: slow down).")) == (7.0, True)


def test_a_limit_without_a_time_is_not_sent_either(server: Remote) -> None:
    error = failure(server, {"status": 429})

    assert isinstance(error, NotSent)
    assert error.retry_after is None


# No answer came, and somebody may have worked on the question.


@pytest.mark.parametrize("status", [500, 502, 503, 504, 529, 408, 409])
def test_a_server_that_failed_may_have_been_paid(server: Remote, status: int) -> None:
    error = failure(server, {"status": status, "body": {"error": "upstream"}})

    assert isinstance(error, NoModelResponse)
    assert f"failed ({status}: upstream); it may have processed the request, and charge for it." in str(error)


def test_a_server_that_failed_may_say_how_long_to_wait(server: Remote) -> None:
    error = failure(server, {"status": 500, "headers": {"Retry-After": "3"}})

    assert isinstance(error, NoModelResponse)
    assert error.retry_after == 3.0


def test_an_answer_that_does_not_come_in_time_may_be_paid(server: Remote) -> None:
    error = failure(server, {"act": "silence"}, timeout_seconds=LATER_SECONDS, late=lambda: server.counted()["held"])

    assert isinstance(error, NoModelResponse)
    assert "gave no answer within 600 seconds; it may have processed" in str(error)


def test_a_server_that_drips_does_not_hold_an_attempt_for_ever(server: Remote) -> None:
    error = failure(
        server, {"act": "drip"}, timeout_seconds=LATER_SECONDS, late=lambda: server.counted()["dripped"]
    )  # each byte comes in time

    assert isinstance(error, NoModelResponse)


@pytest.mark.parametrize(
    "fault", [{"act": "reset"}, {"cut": 0}, {"cut": 20}, {"cut": -10}], ids=["reset", "before the headers", "amid them", "half a body"]
)
def test_a_connection_that_breaks_may_be_paid(server: Remote, fault: dict[str, Any]) -> None:
    error = failure(server, fault)

    assert isinstance(error, NoModelResponse)
    assert "broke the connection" in str(error)


@pytest.mark.parametrize(
    "body",
    ["", "{", "<html>Log in</html>", "[]", "{}", '{"choices": []}', '{"choices": [{}]}', '{"choices": [{"message": {"content": 7}}]}',
     '{"choices": [{"message": {"content": [{"type": "text"}]}}]}', "[" * 100_000, '{"error": {"message": "overloaded"}}'],
)  # fmt: skip
def test_an_envelope_that_is_none_is_no_answer(server: Remote, body: str) -> None:
    error = failure(server, {"body": body})

    assert isinstance(error, NoModelResponse)
    assert "did not answer with a chat completion" in str(error)
    assert len(str(error)) < 600


def test_an_answer_without_end_is_not_read_to_its_end(server: Remote) -> None:
    error = failure(server, {"body": "x" * (ANSWER_BYTES_MAX + 1)})

    assert isinstance(error, NoModelResponse)
    assert "more than 4,194,304 bytes" in str(error)


# Only a person helps.


@pytest.mark.parametrize(
    ("status", "mend"),
    [(401, "correct api_key"), (403, "allow this api_key to use this model"), (404, "correct model or base_url"), (400, "correct model, json_mode"),
     (413, "correct model, json_mode"), (422, "correct model, json_mode"), (402, "credit or budget")],
)  # fmt: skip
def test_a_refusal_names_the_setting_to_mend_and_never_the_key(server: Remote, status: int, mend: str) -> None:
    error = failure(server, {"status": status, "body": {"error": {"message": f"no:\n{KEY} " + "x" * 1_000}}})

    assert isinstance(error, Rejected)
    assert mend in str(error)
    assert len(str(error)) < 500


def test_a_server_that_asks_for_a_key_is_given_one_by_the_setting(server: Remote) -> None:
    server.will({"status": 401})

    with pytest.raises(Rejected, match="give it a key with api_key_env"):
        asyncio.run(OpenAICompatible("desk", base_url=server.url).ask(Task("t"), QUESTION, Triage))
    assert "authorization" not in server.counted()["last"]["headers"]


@pytest.mark.parametrize("error", [{"code": "credit_balance_exhausted", "type": "insufficient_quota"}, {"type": "insufficient_quota"}])
def test_an_empty_account_is_not_asked_again(server: Remote, error: dict[str, str]) -> None:
    refusal = failure(server, {"status": 429, "headers": {"Retry-After": "1"}, "body": {"error": error}})

    assert isinstance(refusal, Rejected)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed_so_that_the_key_goes_nowhere_else(server: Remote, status: int) -> None:
    error = failure(server, {"status": status, "headers": {"Location": server.url + "/chat/completions"}})

    assert isinstance(error, Rejected)
    assert "correct base_url" in str(error)


def test_a_schema_that_cannot_be_asked_for_is_no_request(server: Remote) -> None:
    class Open(BaseModel):
        words: dict[str, int]

    with pytest.raises(DefinitionError, match="json_mode"):
        ask(server, schema=Open)
    assert server.counted()["requests"] == 0


# Settings.


def test_the_key_comes_from_the_environment_and_is_shown_nowhere(
    server: Remote, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DESK_KEY", f"{KEY}\n")
    model = OpenAICompatible("desk", base_url=server.url, api_key_env="DESK_KEY")

    with caplog.at_level(logging.DEBUG):
        asyncio.run(model.ask(Task("t"), QUESTION, Triage))

    assert server.counted()["last"]["headers"]["authorization"] == f"Bearer {KEY}"
    assert caplog.records
    assert KEY not in f"{model!r}{vars(model)!r}{caplog.text}"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"api_key_env": "NO_SUCH_KEY"}, "NO_SUCH_KEY, its api_key_env, is not set"),
        ({"api_key_env": "NO_SUCH_KEY", "api_key": KEY}, "give only one"),
        ({"api_key": f"{KEY}\n{KEY}"}, "an HTTP header cannot hold"),
        ({"api_key": " "}, "its key is empty"),
        ({"base_url": "localhost:11434/v1"}, "base_url must be an address"),
        ({"base_url": "ftp://localhost/v1"}, "base_url must be an address"),
        ({"base_url": "http://localhost:114340/v1"}, "base_url is not an address"),
        ({"base_url": "http://[::1/v1"}, "base_url is not an address"),
        ({"base_url": f"http://localhost/v1?key={KEY}"}, "without a query"),
        ({"base_url": f"http://me:{KEY}@localhost/v1"}, "contains a password"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_at_once(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(DefinitionError, match=problem) as raised:
        OpenAICompatible("desk", **settings)
    assert KEY not in str(raised.value)


def test_a_proxy_of_the_environment_is_used(server: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url.removesuffix("/v1"))

    assert ask("http://model.invalid/v1").output == GOOD


def test_a_client_of_the_authors_own_is_used_and_left_open(server: Remote) -> None:
    async def run() -> tuple[ModelResponse[Triage], bool]:
        async with httpx.AsyncClient(headers={"X-Desk": "7"}, follow_redirects=True) as client:
            model = OpenAICompatible("desk", base_url=server.url, client=client)
            return await model.ask(Task("t"), QUESTION, Triage), client.is_closed

    attempt, closed = asyncio.run(run())

    assert (attempt.output, closed) == (GOOD, False)
    assert server.counted()["last"]["headers"]["x-desk"] == "7"


def test_attempts_side_by_side_are_counted_one_by_one(server: Remote) -> None:
    async def run() -> list[ModelResponse[Triage]]:
        model = OpenAICompatible("desk", base_url=server.url)
        return await asyncio.gather(*(model.ask(Task("t"), QUESTION, Triage) for _ in range(8)))

    attempts = asyncio.run(run())

    counted = server.counted()
    assert counted["requests"] == 8
    assert sum(attempt.usage.output_tokens for attempt in attempts) == counted["completion_tokens"]
