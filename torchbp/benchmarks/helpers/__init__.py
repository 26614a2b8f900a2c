"""What the commands share: the networks and steps that are timed, the measurement, and how results are shown."""
