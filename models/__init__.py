"""The leaf that every process shares: messages, places, people, catalogue, config, errors, detectors."""
