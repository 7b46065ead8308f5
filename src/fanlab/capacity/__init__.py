"""How much a system carries: the search for the highest load that meets an objective, and its runs."""
