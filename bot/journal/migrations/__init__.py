"""How the journal came to be, a step a file (Alembic). Steps are never changed once released."""
