"""The published JSON, a file a subject; `openapi.yaml` describes it."""
