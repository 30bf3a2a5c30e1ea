"""Language models, a file an API. Each offers `connect(...)`, an async context manager that gives a `bot.ports.Model`."""
