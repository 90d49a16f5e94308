"""Facts that every level shares: dtypes, errors, settings, what a device can do."""
