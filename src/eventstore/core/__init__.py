"""The pure heart: events, commands, aggregates, folds. No I/O, clock, randomness, logging or asyncio in here."""
