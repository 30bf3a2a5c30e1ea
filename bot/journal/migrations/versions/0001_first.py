"""The first schema."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


def upgrade() -> None:
    """Make the tables, and the installation's id."""
    op.create_table(
        "turns",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, comment="order of acceptance"),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("thread", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False, comment="open, done, stopped, failed"),
        sa.Column("question", sa.Text, nullable=False, comment="forms.QUESTION"),
        sa.Column("receipt", sa.Text, comment="forms.RECEIPT"),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.Column("finished_at", sa.DateTime(timezone=True), comment="UTC"),
        sqlite_autoincrement=True,
    )
    op.create_index("turns_thread", "turns", ["thread", "seq"])
    op.create_index("turns_state", "turns", ["state"])
    op.create_table(
        "keys",
        sa.Column("key", sa.Text, primary_key=True, comment="a question's key or a receipt's handle"),
        sa.Column("turn", sa.Text, sa.ForeignKey("turns.id"), nullable=False),
    )
    op.create_table(
        "items",
        sa.Column("turn", sa.Text, sa.ForeignKey("turns.id"), primary_key=True),
        sa.Column("n", sa.Integer, primary_key=True, autoincrement=False, comment="from 0, without a gap"),
        sa.Column("kind", sa.Text, nullable=False, comment="said, called, returned"),
        sa.Column("item", sa.Text, nullable=False, comment="forms.write_item"),
    )
    op.create_table(
        "threads",
        sa.Column("thread", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False, index=True, comment="of the checkpoint in the files store"),
        sa.Column("size", sa.BigInteger, nullable=False, comment="bytes"),
        sa.Column("saved", sa.Text, nullable=False, comment="forms.SAVED"),
    )
    installation = op.create_table(
        "installation", sa.Column("id", sa.Text, primary_key=True, comment="one row, made by the first migration")
    )
    op.bulk_insert(installation, [{"id": "".join(secrets.choice(_ID_ALPHABET) for _ in range(12))}])
