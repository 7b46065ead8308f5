"""The charts, each a pure function from series to a Drawing; nothing here writes a file."""
