"""The models of the configuration: three lines are enough, and what cannot work is told before a mail is taken in."""

import asyncio
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import BaseModel

from models.openai_server import running
from pointsman.models import Message, OpenAICompatible, PydanticAI, Task
from pointsman_desk.config import DeskConfig, load_config
from pointsman_desk.errors import ConfigInvalid
from pointsman_desk.wiring import models_of


class Triage(BaseModel):
    intent: str


def configured(folder: Path, text: str) -> DeskConfig:
    file = folder / "desk.toml"
    file.write_text(text, encoding="utf-8")
    return load_config(file)


def problem(folder: Path, text: str) -> str:
    with pytest.raises(ConfigInvalid) as raised:
        models_of(configured(folder, text))
    return str(raised.value)


def test_without_models_the_desk_is_offline(tmp_path: Path) -> None:
    assert models_of(configured(tmp_path, "")) == ()


def test_models_are_asked_in_the_order_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESK_TEST_KEY", "sk-1")
    text = """
        [[models]]
        model = "llama3.2"
        base_url = "http://localhost:11434/v1"

        [[models]]
        model = "gpt-4.1-mini"
        api_key_env = "DESK_TEST_KEY"

        [[models]]
        kind = "pydantic-ai"
        model = "test"
        """

    local, hosted, other = models_of(configured(tmp_path, text))

    assert isinstance(local, OpenAICompatible)
    assert isinstance(hosted, OpenAICompatible)
    assert isinstance(other, PydanticAI)
    assert (local.name, local.base_url) == ("llama3.2", "http://localhost:11434/v1")
    assert (hosted.name, hosted.base_url) == ("gpt-4.1-mini", "https://api.openai.com/v1")


def test_the_settings_reach_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("DESK_TEST_KEY", "sk-1")
    with running() as server:
        text = f"""
            [[models]]
            model = "thinker"
            base_url = "{server.url}"
            api_key_env = "DESK_TEST_KEY"
            reasoning = true
            max_tokens = 77
            json_mode = "schema"
            price = {{ input = 1.5, output = 2 }}
            extra = {{ reasoning_effort = "low" }}

            [[models]]
            model = "plain"
            base_url = "{server.url}"
            max_tokens = 78
            json_mode = "object"
            """
        thinker, plain = models_of(configured(tmp_path, text))

        attempt = asyncio.run(thinker.ask(Task("t"), [Message("user", "refund")], Triage))
        thought = server.counted()["last"]
        asyncio.run(plain.ask(Task("t"), [Message("user", "refund")], Triage))
        answered = server.counted()["last"]["body"]

    assert attempt.usage.cost == (attempt.usage.input_tokens * Decimal("1.5") + attempt.usage.output_tokens * 2) / 1_000_000
    assert thought["headers"]["authorization"] == "Bearer sk-1"
    assert (thought["body"]["max_completion_tokens"], thought["body"]["reasoning_effort"]) == (77, "low")
    assert not {"temperature", "max_tokens"} & thought["body"].keys()
    assert (answered["max_tokens"], answered["temperature"], answered["response_format"]) == (78, 0.0, {"type": "json_object"})


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ('api_key_env = "NO_SUCH_KEY"', "the environment variable NO_SUCH_KEY, its api_key_env, is not set"),
        ('base_url = "localhost:11434"', "models.0: OpenAICompatible 'm': base_url must be an address"),
        ('api_key = "sk-secret"', "models.0.api_key: unknown setting"),
        ("max_tokens = 0", "models.0.max_tokens"),
        ("price = { input = -1, output = 1 }", "models.0.price.input"),
        ('kind = "telepathy"', "models.0.kind"),
        ('kind = "pydantic-ai"', "models.0: PydanticAI 'm': Unknown model: m"),
        ('kind = "pydantic-ai"\nbase_url = "http://localhost/v1"', 'base_url: valid only for models of kind "openai"'),
    ],
)
def test_what_cannot_work_is_told_by_its_setting_and_no_secret_with_it(tmp_path: Path, settings: str, told: str) -> None:
    text = problem(tmp_path, f'[[models]]\nmodel = "m"\n{settings}\n')

    assert told in text
    assert "sk-secret" not in text


def test_every_model_that_cannot_be_made_is_told_at_once(tmp_path: Path) -> None:
    one = '[[models]]\nmodel = "m"\nbase_url = "nowhere"\n'

    text = problem(tmp_path, one + one)

    assert ("models.0" in text, "models.1" in text) == (True, True)


def test_an_extra_that_is_not_installed_is_named(tmp_path: Path) -> None:
    (tmp_path / "desk.toml").write_text('[[models]]\nmodel = "m"\n', encoding="utf-8")
    code = "import sys; sys.modules['httpx'] = None\nimport pointsman_desk.config as c, pointsman_desk.wiring as w\nw.models_of(c.load_config())"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)

    assert "ConfigInvalid: models.0: OpenAICompatible needs httpx; install it with pip install 'pointsman[http]'." in done.stderr
