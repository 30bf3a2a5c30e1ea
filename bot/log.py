"""Logging: one line an event on stderr, with the turn's id, never with what people, models or code say."""

import logging
import sys

import structlog
from structlog.typing import Processor


def configure(level: str) -> None:
    """Set up structlog and route the libraries' own logging (warnings and worse) through the same line format."""
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared], processor=structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    # Vendors log message contents at INFO and DEBUG (Slack's envelopes, OpenAI's requests): warnings only.
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)
