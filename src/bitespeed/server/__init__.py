"""The server process: uvicorn around the application."""
