"""bench_<what>.py: each runs alone and prints one JSON line per figure."""
