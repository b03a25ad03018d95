"""Traces and metrics for OpenTelemetry: a case is one trace, over days, restarts and workers (extra `otel`)."""

from pointsman.integrations.opentelemetry.telemetry import ExportFailed, Telemetry, telemetry_from_environment, telemetry_to

__all__ = ["ExportFailed", "Telemetry", "telemetry_from_environment", "telemetry_to"]
