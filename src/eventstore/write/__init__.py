"""The command side: rehydrate, decide, group commit. Knows ports only; the same over every log."""
