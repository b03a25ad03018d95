"""All models of Pydantic AI: Anthropic, Google, Bedrock and others. Each call of `ask` makes one request."""

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel

from pointsman.definition.guards import ModelResponse
from pointsman.errors import DefinitionError, NoModelResponse, NotSent, Rejected
from pointsman.models.answers import cleaned, ended, one_line, read_answer, tokens_of
from pointsman.models.base import FREE, MAY_BE_PAID, Message, Price, Task

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage
    from pydantic_ai.messages import ModelResponse as ForeignResponse
    from pydantic_ai.models import Model as ForeignModel
    from pydantic_ai.models import ModelRequestParameters
    from pydantic_ai.settings import ModelSettings

T = TypeVar("T", bound=BaseModel)


class PydanticAI:
    """A model of Pydantic AI. Needs the extra `pydantic-ai` and the package of the provider, such as pydantic-ai-slim[anthropic].

    `model` is a model of Pydantic AI, including FallbackModel, or a name such as "anthropic:claude-haiku-4-5",
    "google:gemini-3.8-flash" or "bedrock:...". A named model takes its key from the environment, as Pydantic AI's
    documentation says. It asks for the schema by a tool or by structured output, as the profile of the model prefers. It
    turns off the retries of the provider's client, because the engine retries; it warns if a client cannot turn them off.
    A request ends after `timeout_seconds`.
    """

    def __init__(
        self,
        model: "ForeignModel | str",
        *,
        timeout_seconds: float = 60.0,
        price: Price = FREE,
        temperature: float | None = 0.0,
        max_tokens: int | None = 2_048,
        name: str | None = None,
    ) -> None:
        """Raises DefinitionError if a package or a key is missing, or if the name is unknown."""
        self._model = _model(model)
        self.name = name or self._model.model_name
        self._timeout_seconds = timeout_seconds
        self._price = price
        settings: ModelSettings = {"max_retries": 0, "timeout": timeout_seconds}
        if temperature is not None:
            settings["temperature"] = temperature
        if max_tokens is not None:
            settings["max_tokens"] = max_tokens
        self._settings = settings

    def __repr__(self) -> str:
        return f"PydanticAI({self.name!r})"

    async def ask(self, task: Task, messages: Sequence[Message], schema: type[T]) -> ModelResponse[T]:  # noqa: ARG002 - the messages say it
        """Ask once.

        Raises NotSent if the provider is busy or at a rate limit, with its `retry_after`; Rejected if a person must act;
        NoModelResponse if the request may have been charged; and DefinitionError if the model cannot return objects.
        """
        from pydantic_ai.exceptions import (  # noqa: PLC0415 - importing pointsman.models must stay light
            ContentFilterError,
            FallbackExceptionGroup,
            ModelAPIError,
            UnexpectedModelBehavior,
            UserError,
        )

        try:
            response = await self._ask(messages, schema)
        except ContentFilterError:
            return ModelResponse(None, self.name, violations=ended("content_filter", None))
        except TimeoutError as error:
            raise NoModelResponse(f"{self.name} gave no answer within {self._timeout_seconds:g} seconds; {MAY_BE_PAID}.") from error
        except ModelAPIError as error:
            raise self._failure(error) from error
        except FallbackExceptionGroup as group:
            raise self._failure(*group.exceptions) from group
        except UnexpectedModelBehavior as error:
            raise NoModelResponse(f"{self.name} gave an unreadable response ({one_line(error.message)}); {MAY_BE_PAID}.") from error
        except UserError as error:
            raise DefinitionError(f"PydanticAI {self.name!r}: {one_line(error)}") from error
        raw = cleaned(_raw(response))
        output, wrong = read_answer(raw, schema)
        if output is None:
            wrong = ended(response.finish_reason, self._settings.get("max_tokens")) or wrong
        usage = self._price.usage(tokens_of(response.usage.input_tokens), tokens_of(response.usage.output_tokens))
        return ModelResponse(output, self.name, raw, usage, wrong)

    async def _ask(self, messages: Sequence[Message], schema: type[BaseModel]) -> "ForeignResponse":
        from pydantic_ai.direct import model_request  # noqa: PLC0415

        async with asyncio.timeout(self._timeout_seconds):
            return await model_request(
                self._model, _conversation(messages), model_settings=self._settings, model_request_parameters=_parameters(schema)
            )

    def _failure(self, *errors: Exception) -> NotSent | NoModelResponse | Rejected:
        """The exception for the failure of a model. For a FallbackModel, the exception that is most likely to pass with time."""
        return min((self._one_failure(error) for error in errors), key=lambda one: _HOPE.index(type(one)))

    def _one_failure(self, error: Exception) -> NotSent | NoModelResponse | Rejected:
        from pydantic_ai.exceptions import (  # noqa: PLC0415
            ModelAuthenticationError,
            ModelQuotaExceededError,
            ModelRateLimitError,
            ModelRequestRejectedError,
            ModelUnavailableError,
        )

        wait: float | None = getattr(error, "retry_after", None)
        if isinstance(error, ModelAuthenticationError):  # the message of the provider may contain the key
            return Rejected(f"{self.name} refused access; correct its key, in the place that the provider's documentation names.")
        if isinstance(error, ModelQuotaExceededError):
            return Rejected(f"{self.name} refused, because the account's credit or budget is used up ({_said(error)}); raise it there.")
        if isinstance(error, ModelRateLimitError) or (isinstance(error, ModelUnavailableError) and wait is not None):
            return NotSent(f"{self.name} is busy ({_said(error)}).", retry_after=wait)
        if isinstance(error, ModelRequestRejectedError):
            return Rejected(f"{self.name} refused the request ({_said(error)}); correct the model's name or its settings.")
        return NoModelResponse(f"{self.name} failed ({_said(error)}); {MAY_BE_PAID}.", retry_after=wait)


_HOPE = (NotSent, NoModelResponse, Rejected)


def _model(model: "ForeignModel | str") -> "ForeignModel":
    try:
        from pydantic_ai.exceptions import UserError  # noqa: PLC0415
        from pydantic_ai.models import infer_model  # noqa: PLC0415
    except ImportError:
        raise DefinitionError("PydanticAI needs Pydantic AI; install it with pip install 'pointsman[pydantic-ai]'.") from None
    try:
        return infer_model(model)
    except (UserError, ImportError, ValueError) as error:
        raise DefinitionError(f"PydanticAI {model!r}: {one_line(error)}") from error


def _conversation(messages: Sequence[Message]) -> "list[ModelMessage]":
    """The messages as Pydantic AI's types. A request collects the messages up to the next answer of the model."""
    from pydantic_ai.messages import ModelRequest, SystemPromptPart, TextPart, UserPromptPart  # noqa: PLC0415
    from pydantic_ai.messages import ModelResponse as ForeignResponse  # noqa: PLC0415

    conversation: list[ModelMessage] = []
    for message in messages:
        content = cleaned(message.content)
        if message.role == "assistant":
            conversation.append(ForeignResponse(parts=[TextPart(content)]))
            continue
        part = SystemPromptPart(content) if message.role == "system" else UserPromptPart(content)
        if conversation and isinstance(conversation[-1], ModelRequest):
            conversation[-1] = ModelRequest(parts=[*conversation[-1].parts, part])
        else:
            conversation.append(ModelRequest(parts=[part]))
    return conversation


def _parameters(schema: type[BaseModel]) -> "ModelRequestParameters":
    """Ask for the schema by a tool or by structured output, as the profile of the model says."""
    from pydantic_ai.models import ModelRequestParameters  # noqa: PLC0415
    from pydantic_ai.output import OutputObjectDefinition  # noqa: PLC0415
    from pydantic_ai.tools import ToolDefinition  # noqa: PLC0415

    made, description = schema.model_json_schema(), "The answer."
    return ModelRequestParameters(
        output_mode="auto",
        output_tools=[ToolDefinition(name=schema.__name__, parameters_json_schema=made, description=description, kind="output")],
        output_object=OutputObjectDefinition(json_schema=made, name=schema.__name__),
        allow_text_output=False,
    )


def _raw(response: "ForeignResponse") -> str:
    """The response as JSON text: the arguments of the tool call, or the written text."""
    from pydantic_ai.messages import ToolCallPart  # noqa: PLC0415

    for part in response.parts:
        if isinstance(part, ToolCallPart):
            return part.args if isinstance(part.args, str) else json.dumps(part.args or {}, ensure_ascii=False)
    return response.text or ""


def _said(error: Exception) -> str:
    """The status and the message of an error, as one short line."""
    body = getattr(error, "body", None)
    status, message = getattr(error, "status_code", None), body.get("message") if isinstance(body, dict) else None
    return one_line(": ".join(str(one) for one in (status, message) if one) or error)
