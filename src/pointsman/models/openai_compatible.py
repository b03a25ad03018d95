"""Models behind OpenAI's chat completions API, which many servers implement. Each call of `ask` makes one request."""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr

from pointsman.definition.guards import ModelResponse
from pointsman.errors import DefinitionError, NoModelResponse, NotSent, Rejected
from pointsman.mappings.http import http_outcome, retry_after_seconds
from pointsman.models.answers import SAID_MAX, cleaned, ended, one_line, read_answer, tokens_of, violations
from pointsman.models.base import FREE, MAY_BE_PAID, Message, Price, Task
from pointsman.models.schemas import strict_schema

if TYPE_CHECKING:
    import ssl

    import httpx

T = TypeVar("T", bound=BaseModel)

JsonMode = Literal["schema", "object", "prompt"]

OPENAI = "https://api.openai.com/v1"
ANSWER_BYTES_MAX = 4 * 1024 * 1024  # more than a model writes; a server that sends more is broken
CONNECT_SECONDS_MAX = 10.0  # a running server accepts in milliseconds

_MAY_GO_BETTER = frozenset({408, 409, 425})  # OpenAI's own client tries these and 5xx again
_NO_MONEY = frozenset(  # the codes of a 429 that waiting does not fix (OpenAI, "Error codes")
    {"insufficient_quota", "credit_balance_exhausted", "organization_spend_limit_exceeded", "project_spend_limit_exceeded",
     "organization_usage_limit_exceeded"}
)  # fmt: skip


class OpenAICompatible:
    """A model behind `POST {base_url}/chat/completions`. Needs the extra `http`.

    `api_key` is the key, or `api_key_env` the name of the environment variable that holds it. The key is sent to `base_url`
    only: redirects are not followed, and no error or repr shows it. As in httpx, proxies come from the environment.
    An attempt ends after `timeout_seconds`. By default each attempt opens its own connection, which costs a handshake but is never
    stale; `client` is an httpx.AsyncClient to use instead.

    `json_mode` says how to ask for the form of the response: "schema" sends a strict JSON Schema, which the server enforces;
    "object" asks for JSON, with the schema in the messages; "prompt" uses the messages alone. There is no fallback: if the server
    does not support the mode, it refuses the request, and the error says so. `extra`, such as {"seed": 1}, is added to the request
    unchanged. A `temperature` or `max_tokens` of None is omitted.

    Differences between servers (their documentation, November 2026):

    - OpenAI: reasoning models refuse `temperature` and `max_tokens`; set both to None, and `extra` to
      {"max_completion_tokens": 4096}.
    - Ollama, http://localhost:11434/v1: needs no key, enforces the schema since 0.5, and silently truncates the prompt to
      its context length, 4,096 tokens on small machines (OLLAMA_CONTEXT_LENGTH). It loads a model at the first
      request: raise `timeout_seconds`. Ollama Cloud accepts the schema but does not enforce it.
    - vLLM, http://localhost:8000/v1: enforces the schema; for reasoning models, `--reasoning-parser` keeps the
      reasoning out of the response.
    - llama.cpp, http://localhost:8080/v1: enforces the schema by a grammar.
    - LM Studio, http://localhost:1234/v1: enforces the schema, and refuses the mode "object" (its bug tracker, #189).
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str = OPENAI,
        api_key: str | None = None,
        api_key_env: str | None = None,
        timeout_seconds: float = 60.0,
        price: Price = FREE,
        json_mode: JsonMode = "schema",
        temperature: float | None = 0.0,
        max_tokens: int | None = 2_048,
        extra: Mapping[str, Any] | None = None,
        client: "httpx.AsyncClient | None" = None,
        name: str | None = None,
    ) -> None:
        """Raises DefinitionError if a setting cannot work or httpx is not installed."""
        _needs_httpx()
        if not 0 < timeout_seconds < float("inf"):
            raise DefinitionError(f"OpenAICompatible {model!r}: timeout_seconds is {timeout_seconds}; it must be above 0.")
        self.name = name or model
        self.base_url = _checked(base_url, model)
        self._key = _key(api_key, api_key_env, model)
        self._timeout_seconds = timeout_seconds
        self._price = price
        self._json_mode = json_mode
        self._max_tokens = max_tokens
        self._client = client
        settings = {"model": model, "temperature": temperature, "max_tokens": max_tokens} | dict(extra or {})
        self._settings = {key: value for key, value in settings.items() if value is not None}

    def __repr__(self) -> str:
        return f"OpenAICompatible({self._settings['model']!r}, base_url={self.base_url!r})"

    async def ask(self, task: Task, messages: Sequence[Message], schema: type[T]) -> ModelResponse[T]:  # noqa: ARG002 - the messages say it
        """Ask once.

        Raises NotSent if the server did not process the request (no connection, a rate limit, a busy server), with the
        server's `retry_after`. Raises NoModelResponse if it may have processed the request (a timeout, a broken connection,
        a server error, an unreadable response). Raises Rejected if only another setting helps, and DefinitionError if the
        API cannot express `schema`.
        """
        body = await self._post(self._request(messages, schema))
        completion = _completion(body)
        if completion is None:
            start = self._line(body[:SAID_MAX].decode("utf-8", "replace"))
            raise NoModelResponse(f"{self._said_by} did not answer with a chat completion ({start!r}); {MAY_BE_PAID}.")
        usage = self._price.usage(completion.input_tokens, completion.output_tokens)
        output, wrong = read_answer(completion.content, schema)
        if output is None:
            refused = violations(f"the model refused to answer: {completion.refusal[:SAID_MAX]}") if completion.refusal else ()
            wrong = refused or ended(completion.finish_reason, self._max_tokens) or wrong
        return ModelResponse(output, self.name, completion.content or completion.refusal, usage, wrong)

    @property
    def _said_by(self) -> str:
        return f"{self.name} at {urlsplit(self.base_url).netloc}"

    def _request(self, messages: Sequence[Message], schema: type[BaseModel]) -> dict[str, Any]:
        if self._json_mode == "schema":
            named = {"name": re.sub(r"[^A-Za-z0-9_-]", "_", schema.__name__)[:64], "strict": True, "schema": strict_schema(schema)}
            asked: dict[str, Any] = {"response_format": {"type": "json_schema", "json_schema": named}}
        else:
            asked = {"response_format": {"type": "json_object"}} if self._json_mode == "object" else {}
            messages = _with_schema(messages, schema)
        sent = [{"role": message.role, "content": cleaned(message.content)} for message in messages]
        return {"messages": sent, "stream": False, **asked, **self._settings}

    async def _post(self, request: dict[str, Any]) -> bytes:
        import httpx  # noqa: PLC0415 - importing pointsman.models must stay light

        try:
            async with asyncio.timeout(self._timeout_seconds):
                with http_outcome():
                    status, headers, body = await self._exchange(request)
        except NotSent as error:
            raise NotSent(f"{self._said_by} cannot be reached ({error}); check that it runs, and check base_url.") from error
        except (TimeoutError, httpx.TimeoutException) as error:
            raise NoModelResponse(f"{self._said_by} gave no answer within {self._timeout_seconds:g} seconds; {MAY_BE_PAID}.") from error
        except httpx.HTTPError as error:
            raise NoModelResponse(f"{self._said_by} broke the connection ({type(error).__name__}); {MAY_BE_PAID}.") from error
        if not 200 <= status < 300:
            self._refuse(status, headers, body)
        return body

    async def _exchange(self, request: dict[str, Any]) -> tuple[int, Mapping[str, str], bytes]:
        import httpx  # noqa: PLC0415

        headers = {"Accept": "application/json"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key.get_secret_value()}"
        timeout = httpx.Timeout(self._timeout_seconds, connect=min(CONNECT_SECONDS_MAX, self._timeout_seconds / 2))
        url = f"{self.base_url}/chat/completions"
        body = bytearray()
        async with self._connected() as client:
            asked = client.build_request("POST", url, json=request, headers=headers, timeout=timeout)
            response = await client.send(asked, stream=True, follow_redirects=False)
            try:
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > ANSWER_BYTES_MAX:
                        raise NoModelResponse(f"{self._said_by} sent more than {ANSWER_BYTES_MAX:,} bytes; {MAY_BE_PAID}.")
            finally:
                await response.aclose()
            return response.status_code, response.headers, bytes(body)

    @asynccontextmanager
    async def _connected(self) -> "AsyncIterator[httpx.AsyncClient]":
        """The given client, or a new one for this request, so that no connection outlives its event loop."""
        import httpx  # noqa: PLC0415

        if self._client is not None:
            yield self._client
            return
        async with httpx.AsyncClient(verify=_certificates()) as client:
            yield client

    def _refuse(self, status: int, headers: Mapping[str, str], body: bytes) -> NoReturn:
        """Raise the exception for an error status (OpenAI, "Error codes"; RFC 9110)."""
        said, codes = self._error(body)
        wait = retry_after_seconds(headers)
        because = f" ({status}{f': {said}' if said else ''})"
        if status == 402 or (status == 429 and codes & _NO_MONEY):
            raise Rejected(f"{self._said_by} refused, because the account's credit or budget is used up{because}; raise it there.")
        if status == 429 or (status == 503 and wait is not None):
            raise NotSent(f"{self._said_by} is busy{because}.", retry_after=wait)
        if status >= 500 or status in _MAY_GO_BETTER:
            raise NoModelResponse(f"{self._said_by} failed{because}; {MAY_BE_PAID}.", retry_after=wait)
        if status == 401:  # the message of the server may contain the key
            fix = "correct api_key or api_key_env" if self._key else "give it a key with api_key_env"
            raise Rejected(f"{self._said_by} refused access (401); {fix}.")
        if status == 403:
            raise Rejected(f"{self._said_by} refused access{because}; allow this api_key to use this model.")
        if status == 404:
            raise Rejected(f"{self._said_by} was not found{because}; correct model or base_url.")
        if 300 <= status < 400:
            raise Rejected(f"{self._said_by} answered with a redirect ({status}), which is not followed; correct base_url.")
        raise Rejected(f"{self._said_by} refused the request{because}; correct model, json_mode, temperature, max_tokens or extra.")

    def _error(self, body: bytes) -> tuple[str, frozenset[str]]:
        """The error message of the server, and its codes."""
        try:
            parsed = json.loads(body)
        except (ValueError, RecursionError):
            return "", frozenset()
        error = parsed.get("error", parsed) if isinstance(parsed, dict) else parsed
        if not isinstance(error, dict):
            error = {"message": error}
        said = self._line(str(error.get("message") or error.get("detail") or ""))
        return said, frozenset(str(error.get(key)) for key in ("code", "type"))

    def _line(self, text: str) -> str:
        """The text of a server as one short line, without the key, which some servers repeat."""
        return one_line(text if self._key is None else text.replace(self._key.get_secret_value(), "***"))


class _Completion(NamedTuple):
    """The relevant parts of a chat completion."""

    content: str
    refusal: str
    finish_reason: str
    input_tokens: int
    output_tokens: int


def _completion(body: bytes) -> _Completion | None:
    """Read the chat completion; None if the body is not one."""
    try:
        envelope = json.loads(body)
        choice = envelope["choices"][0]
        content, refusal = (choice["message"].get(key) or "" for key in ("content", "refusal"))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    if not (isinstance(content, str) and isinstance(refusal, str)):
        return None
    usage = envelope.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    tokens = (tokens_of(counts.get(key)) for key in ("prompt_tokens", "completion_tokens"))
    return _Completion(cleaned(content), cleaned(refusal), str(choice.get("finish_reason")), *tokens)


def _with_schema(messages: Sequence[Message], schema: type[BaseModel]) -> Sequence[Message]:
    """The messages with the schema in the first system message; some chat templates allow only one, at the beginning."""
    asked = "Answer with one JSON object and nothing else. It must fit this JSON Schema:"
    instruction = f"{asked}\n{json.dumps(schema.model_json_schema(), ensure_ascii=False)}"
    if messages and messages[0].role == "system":
        return [Message("system", f"{messages[0].content}\n\n{instruction}"), *messages[1:]]
    return [Message("system", instruction), *messages]


def _needs_httpx() -> None:
    try:
        import httpx  # noqa: F401, PLC0415
    except ImportError:
        raise DefinitionError("OpenAICompatible needs httpx; install it with pip install 'pointsman[http]'.") from None


def _checked(base_url: str, model: str) -> str:
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:  # an invalid port or an open bracket
        raise DefinitionError(f"OpenAICompatible {model!r}: base_url is not an address; write one such as {OPENAI}.") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0 or parts.query or parts.fragment:
        raise DefinitionError(f"OpenAICompatible {model!r}: base_url must be an address such as {OPENAI}, without a query.")
    if parts.username is not None or parts.password is not None:
        raise DefinitionError(f"OpenAICompatible {model!r}: base_url contains a password; give the key with api_key_env.")
    return base_url.rstrip("/")


def _key(value: str | None, variable: str | None, model: str) -> SecretStr | None:
    if value is not None and variable is not None:
        raise DefinitionError(f"OpenAICompatible {model!r}: it has both api_key and api_key_env; give only one.")
    if variable is not None:
        value = os.environ.get(variable)
        if not value:
            raise DefinitionError(f"OpenAICompatible {model!r}: the environment variable {variable}, its api_key_env, is not set.")
    if value is None:
        return None
    key = value.strip()
    if not re.fullmatch(r"[!-~]+", key):  # the error of httpx would show the key
        raise DefinitionError(
            f"OpenAICompatible {model!r}: its key is empty or has characters that an HTTP header cannot hold; correct it."
        )
    return SecretStr(key)


@cache
def _certificates() -> "ssl.SSLContext":
    """The trusted certificates that httpx chooses. All clients share them, because loading them is slow."""
    import httpx  # noqa: PLC0415

    return httpx.create_ssl_context()
