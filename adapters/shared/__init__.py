"""What every platform needs: splitting, neutralising, words, names."""
