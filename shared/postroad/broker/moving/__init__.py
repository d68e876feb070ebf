"""Going to other brokers than the one that is used: to look at them, and to carry messages."""
