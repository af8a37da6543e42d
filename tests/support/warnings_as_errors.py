"""What pytest does with warnings of deprecation, for the processes that tests start."""

IN_ENVIRONMENT = {
    "PYTHONWARNINGS": "error::DeprecationWarning,error::PendingDeprecationWarning",
}
"""Python raises each of these warnings; a server answers 500, a command ends with a traceback."""
