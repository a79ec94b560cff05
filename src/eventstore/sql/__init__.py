"""Query stores in SQLite and PostgreSQL, through SQLAlchemy Core. Imported only when an application has read models."""
