"""The report of a capacity search: capacity.html, capacity.md and its charts, made from capacity.json alone."""
