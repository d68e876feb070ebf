"""Moving the running system to another broker under load, and counting what became of it."""
