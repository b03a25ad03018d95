"""The OpenAPI document says what the API does: generated requests find no server error and no undocumented answer."""

import asyncio
import sys
from pathlib import Path

from pointsman import Engine
from pointsman.server.access import LocalAccess
from pointsman.server.app import create_app
from pointsman.server.running import listening
from server.serving import HANG_SECONDS, TOKEN, claims
from tiers import figure, seed

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance"


def test_generated_requests_find_no_server_error_and_no_undocumented_answer(tmp_path: Path) -> None:
    async def body() -> tuple[int, str]:
        async with Engine.open(tmp_path / "cases.db", [claims]) as engine:
            for text in ("fire", "flood"):
                await engine.start(claims, {"text": text})
            async with listening(create_app(engine, LocalAccess("ada", TOKEN)), tmp_path / "cases.db", TOKEN, "127.0.0.1", 0) as url:
                command = (
                    *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "run"),
                    *(f"{url}/api/v1/openapi.json", "--header", f"Authorization: Bearer {TOKEN}", "--checks", CHECKS),
                    *("--exclude-path", "/api/v1/events/stream", "--phases", "examples,coverage,fuzzing"),
                    *("--max-examples", str(figure("REQUESTS", 15)), "--seed", str(seed()), "--no-color"),
                    *("--request-timeout", str(HANG_SECONDS), "--suppress-health-check", "too_slow"),  # on a busy machine
                )
                process = await asyncio.create_subprocess_exec(
                    *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
                )
                output, _ = await process.communicate()
                return process.returncode or 0, output.decode()

    code, output = asyncio.run(body())

    print(output[-2_000:])
    assert code == 0, output


def test_every_operation_documents_what_the_program_itself_may_answer(tmp_path: Path) -> None:
    async def body() -> None:
        async with Engine.open(tmp_path / "cases.db", [claims]) as engine:
            document = create_app(engine, LocalAccess("ada", TOKEN)).openapi()
            for path, operations in document["paths"].items():
                for method, operation in operations.items():
                    missing = {"401", "403", "408", "413", "429", "500"} - set(operation["responses"])
                    assert not missing, (path, method, missing)

    asyncio.run(body())
