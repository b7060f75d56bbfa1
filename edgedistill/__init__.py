"""edgedistill: distill a large model into a small one, and ship it to a device with evidence."""
