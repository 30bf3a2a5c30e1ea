"""The core's errors. `str()` of each is one sentence that says what is wrong and what to do.

CellmateError
├── ConfigError     a setting, token or file of the operator's is wrong: one line on stderr, exit 2
├── Refused         this question or action cannot be taken: the asker reads the sentence in the thread
├── JournalError    the journal cannot be read or written, nothing was recorded: the asker reads the sentence in the thread
└── ModelError      the model gave no answer after all retries: the asker reads the sentence in the thread
"""


class CellmateError(Exception):
    """Base of what the core raises on purpose."""


class ConfigError(CellmateError):
    """The operator's to mend. Ends the program with exit status 2 and this one line."""


class Refused(CellmateError):
    """The asker's to know. The thread stays usable."""


class JournalError(CellmateError):
    """The journal's disk or database failed; what was to be recorded is not."""


class ModelError(CellmateError):
    """The model could not be reached or would not answer; retries are over."""
