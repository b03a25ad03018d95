"""The files of examples/deploy can be read by what they are for, and their command lines by the command; there is time enough to drain."""

import shlex
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from pointsman.cli.main import Commands
from pointsman.runtime.engine import GRACE_SECONDS
from pointsman.runtime.scheduler import CANCEL_SECONDS

DEPLOY = Path(__file__).parents[2] / "examples" / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
CLOSING_SECONDS = 5.0  # to give the cases back and close the connections
KEYS = {
    # As the manual pages of systemd have them.
    "Unit": {"Description", "Wants", "After"},
    "Service": {
        "Type", "User", "WorkingDirectory", "EnvironmentFile", "ExecStart", "KillMode", "TimeoutStopSec", "Restart", "RestartSec", "NoNewPrivileges",
        "ProtectSystem", "ProtectHome", "PrivateTmp",
    },
    "Install": {"WantedBy"},
}  # fmt: skip
SERVICES = {
    "build",
    "environment",
    "image",
    "command",
    "depends_on",
    "deploy",
    "restart",
    "stop_grace_period",
    "healthcheck",
    "volumes",
    "ports",
}
PROBES = {"worker": ("/healthz", "/readyz"), "serve": ("/health", "/ready")}


def unit(file: Path) -> ConfigParser:
    read = ConfigParser(interpolation=None)
    read.optionxform = str  # type: ignore[assignment, method-assign]
    read.read(file)
    return read


def compose() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def kubernetes() -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()) if one]


def containers() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each container with its pod."""
    pods = [one["spec"]["template"]["spec"] for one in kubernetes() if "template" in one["spec"]]
    return [(pod, container) for pod in pods for container in pod["containers"]]


def parsed(words: list[str]) -> dict[str, Any]:
    """What the command understands of its words."""
    program, name, *options = words
    assert Path(program).name == "pointsman"
    return Commands(name="pointsman").commands[name].make_context(name, options).params


def seconds_needed(words: list[str]) -> float:
    """How long a program takes to end after SIGTERM, at most."""
    drain = parsed(words)["drain"] if words[1] == "worker" else GRACE_SECONDS
    return float(drain) + CANCEL_SECONDS + CLOSING_SECONDS


@pytest.mark.parametrize("file", UNITS, ids=lambda file: file.name)
def test_a_unit_has_known_keys_and_a_command_that_has_time_to_drain(file: Path) -> None:
    read = unit(file)
    words = shlex.split(read["Service"]["ExecStart"].replace("%i", "1"))

    assert {name: set(read[name]) - KEYS[name] for name in read.sections()} == {"Unit": set(), "Service": set(), "Install": set()}
    assert seconds_needed(words) < float(read["Service"]["TimeoutStopSec"])


def test_there_are_units_for_workers_and_pages() -> None:
    assert [file.name for file in UNITS] == ["pointsman-serve.service", "pointsman-worker@.service"]


def test_the_compose_file_has_commands_that_have_time_to_drain_and_starts_them_in_order() -> None:
    services = compose()["services"]

    assert set().union(*services.values()) <= SERVICES
    for name in ("worker", "serve"):
        assert seconds_needed(services[name]["command"]) < float(services[name]["stop_grace_period"].removesuffix("s"))
        assert services[name]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    assert not any(parsed(services["migrate"]["command"]).values())  # the URL comes from the environment
    assert parsed(services["worker"]["command"])["health"] in " ".join(services["worker"]["healthcheck"]["test"])
    assert "pg_isready" in services["postgres"]["healthcheck"]["test"]


def test_the_kubernetes_file_has_commands_that_have_time_to_drain_and_probes_that_are_answered() -> None:
    kinds = [one["kind"] for one in kubernetes()]

    assert kinds == ["Job", "Deployment", "Deployment", "Service"]
    for pod, container in containers():
        words = container["command"]
        if words[1] == "migrate":
            assert not any(parsed(words).values())
            continue
        before = float(container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"])[1])
        probes = (container["livenessProbe"]["httpGet"], container["readinessProbe"]["httpGet"])
        [port] = container["ports"]
        assert before + seconds_needed(words) < pod["terminationGracePeriodSeconds"]
        assert tuple(probe["path"] for probe in probes) == PROBES[words[1]]
        assert {probe["port"] for probe in probes} == {port["name"]}
        options = parsed(words)
        assert str(port["containerPort"]) in {str(options.get("port")), str(options.get("health", "")).rpartition(":")[2]}


def test_each_app_of_the_examples_can_be_loaded() -> None:
    named = {unit(file)["Service"]["ExecStart"].split("--app ")[1].split()[0] for file in UNITS}
    named |= {one["command"][3] for one in compose()["services"].values() if "--app" in one.get("command", ())}

    assert named == {"insurance_claim:claims"}
    assert (DEPLOY.parent / "insurance_claim.py").exists()
