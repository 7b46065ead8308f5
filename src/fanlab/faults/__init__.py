"""What breaks, when, and the proof that it did."""
