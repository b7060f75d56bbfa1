"""How a device is reached. One file per address scheme."""
