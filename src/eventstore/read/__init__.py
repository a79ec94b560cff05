"""The query side: workers that move read models along the log, rebuilds, waiting, audits. No database driver in here."""
