"""The journal's tables as they are now. How they came to be is in `migrations/versions`; a test holds the two together."""

from sqlalchemy import BigInteger, Column, DateTime, ForeignKey, Index, Integer, MetaData, Table, Text

METADATA = MetaData()

TURNS = Table(
    "turns",
    METADATA,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, comment="order of acceptance"),
    Column("id", Text, nullable=False, unique=True),
    Column("thread", Text, nullable=False),
    Column("state", Text, nullable=False, comment="open, done, stopped, failed"),
    Column("question", Text, nullable=False, comment="forms.QUESTION"),
    Column("receipt", Text, comment="forms.RECEIPT"),
    Column("accepted_at", DateTime(timezone=True), nullable=False, comment="UTC"),
    Column("finished_at", DateTime(timezone=True), comment="UTC"),
    Index("turns_thread", "thread", "seq"),
    Index("turns_state", "state"),
    sqlite_autoincrement=True,
)

KEYS = Table(
    "keys",
    METADATA,
    Column("key", Text, primary_key=True, comment="a question's key or a receipt's handle"),
    Column("turn", Text, ForeignKey("turns.id"), nullable=False),
)

ITEMS = Table(
    "items",
    METADATA,
    Column("turn", Text, ForeignKey("turns.id"), primary_key=True),
    Column("n", Integer, primary_key=True, autoincrement=False, comment="from 0, without a gap"),
    Column("kind", Text, nullable=False, comment="said, called, returned"),
    Column("item", Text, nullable=False, comment="forms.write_item"),
)

THREADS = Table(
    "threads",
    METADATA,
    Column("thread", Text, primary_key=True),
    Column("digest", Text, nullable=False, index=True, comment="of the checkpoint in the files store"),
    Column("size", BigInteger, nullable=False, comment="bytes"),
    Column("saved", Text, nullable=False, comment="forms.SAVED"),
)

INSTALLATION = Table(
    "installation", METADATA, Column("id", Text, primary_key=True, comment="one row, made by the first migration")
)
