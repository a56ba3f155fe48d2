"""The log: one SQLite file, or Kafka; Faust's transports over both, and how the app reads and writes it."""
