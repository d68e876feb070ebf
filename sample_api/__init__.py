"""A bundled product API to start with: the shape and the quirks of a public one."""
