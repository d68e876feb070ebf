from postroad.extras import needs

with needs("database"):
    import sqlalchemy  # noqa: F401
