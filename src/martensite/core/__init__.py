"""What every room stands on: configuration, registry, errors, random streams, events."""
