"""What the model reads, as text, and the cell that looks inside attached files."""
