"""Writing new services, and tests of dead letters: source code of a service, made."""
