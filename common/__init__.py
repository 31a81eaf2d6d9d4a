"""What every service of Respool shares: segments, the store, media work, times, metrics, start and stop."""
