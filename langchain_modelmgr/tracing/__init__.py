"""OpenTelemetry spans of calls and attempts; imported only if ``metrics.otel`` is on."""
