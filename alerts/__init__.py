"""What happens after dispatch: casework, escalation, channels, ledgers, command center."""
