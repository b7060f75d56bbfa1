"""What transports share: the faults, facts of a device, and a device that is reached through a POSIX shell."""
