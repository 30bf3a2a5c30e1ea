"""The program inside the container. Imports nothing of the host's side; the host imports only `wire` and `text`."""
