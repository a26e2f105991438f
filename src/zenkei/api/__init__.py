"""The wire: versions, request and response forms, the error body."""
