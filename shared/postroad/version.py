"""The version of the library and of the services here. Nothing else states it."""

VERSION = "0.1.0"
