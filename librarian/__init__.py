"""The store's upkeep as queued jobs: coverage, checks, pictures, duplicates, archiving, expiry."""
