"""The zone reducer: from observations to pre-alarms and alarms."""
