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

CHECKPOINTS = Table(
    "checkpoints",
    METADATA,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, comment="order of making"),
    Column("thread", Text, nullable=False),
    Column("turn", Text, nullable=False, comment="the answer at whose end it was made"),
    Column("files", Text, nullable=False, comment="forms.SAVED"),
    Column("variables", Text, nullable=False, comment="forms.SAVED"),
    Column("gone", Text, comment="why its pieces are no longer kept: old, expired"),
    Column("saved_at", DateTime(timezone=True), nullable=False, comment="UTC"),
    Index("checkpoints_thread", "thread", "id"),
    sqlite_autoincrement=True,
)

PIECES = Table(
    "pieces",
    METADATA,
    Column("checkpoint", BigInteger, ForeignKey("checkpoints.id"), primary_key=True),
    Column("n", Integer, primary_key=True, autoincrement=False, comment="order within the checkpoint"),
    Column("part", Text, nullable=False, comment="files, variables"),
    Column("name", Text, nullable=False, comment="the sandbox's own"),
    Column("digest", Text, nullable=False, comment="of the sealed piece in the files store"),
    Column("size", BigInteger, nullable=False, comment="bytes"),
    Column("nonce", Text, nullable=False, comment="bot.seal"),
    Index("pieces_digest", "digest"),
)

INSTALLATION = Table(
    "installation",
    METADATA,
    Column("id", Text, primary_key=True, comment="one row, made by the first migration"),
    Column("key", Text, comment="256 bits, hexadecimal"),
)
