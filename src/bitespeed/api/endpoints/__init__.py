"""The handlers of the operations, a file a subject. `openapi.yaml` says what each one promises."""
