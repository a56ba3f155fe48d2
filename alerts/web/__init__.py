"""The command center: pages, their API and the live feed."""
