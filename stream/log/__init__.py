"""The embedded durable log, the Faust transport over it, and how the app reads and writes it."""
