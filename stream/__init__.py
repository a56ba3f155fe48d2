"""The Faust processor: ingest, locate, fuse, match, dispatch."""
