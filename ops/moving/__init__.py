"""Moving a running system to another broker (docs/upgrade-broker.md)."""
