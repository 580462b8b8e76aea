"""The parts of `SearchLoop`: what it checks, asks, plans and dispatches."""
