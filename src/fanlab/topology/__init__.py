"""What runs: the plan of processes, and the backends that start them."""
