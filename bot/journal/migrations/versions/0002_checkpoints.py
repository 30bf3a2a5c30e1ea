"""Checkpoints of several answers, in pieces, and the key that authenticates them.

What version 0001 kept is carried over as a piece that no key fits: whoever comes back to such a thread is told.
"""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables and the key; carry over what a thread has."""
    op.add_column("installation", sa.Column("key", sa.Text, comment="256 bits, hexadecimal"))
    op.get_bind().execute(sa.text("UPDATE installation SET key = :key"), {"key": secrets.token_hex(32)})
    op.create_table(
        "checkpoints",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, comment="order of making"),
        sa.Column("thread", sa.Text, nullable=False),
        sa.Column("turn", sa.Text, nullable=False, comment="the answer at whose end it was made"),
        sa.Column("files", sa.Text, nullable=False, comment="forms.SAVED"),
        sa.Column("variables", sa.Text, nullable=False, comment="forms.SAVED"),
        sa.Column("gone", sa.Text, comment="why its pieces are no longer kept: old, expired"),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sqlite_autoincrement=True,
    )
    op.create_index("checkpoints_thread", "checkpoints", ["thread", "id"])
    op.create_table(
        "pieces",
        sa.Column("checkpoint", sa.BigInteger, sa.ForeignKey("checkpoints.id"), primary_key=True),
        sa.Column("n", sa.Integer, primary_key=True, autoincrement=False, comment="order within the checkpoint"),
        sa.Column("part", sa.Text, nullable=False, comment="files, variables"),
        sa.Column("name", sa.Text, nullable=False, comment="the sandbox's own"),
        sa.Column("digest", sa.Text, nullable=False, comment="of the sealed piece in the files store"),
        sa.Column("size", sa.BigInteger, nullable=False, comment="bytes"),
        sa.Column("nonce", sa.Text, nullable=False, comment="bot.seal"),
    )
    op.create_index("pieces_digest", "pieces", ["digest"])
    op.execute(
        "INSERT INTO checkpoints (thread, turn, files, variables, saved_at) "
        "SELECT thread, '', saved, saved, CURRENT_TIMESTAMP FROM threads"
    )
    op.execute(
        "INSERT INTO pieces (checkpoint, n, part, name, digest, size, nonce) SELECT checkpoints.id, 0, 'files', '', "
        "threads.digest, threads.size, '' FROM threads JOIN checkpoints ON checkpoints.thread = threads.thread"
    )
    op.drop_table("threads")
