"""simulate: what cannot be had is made: devices, wafer maps, miniatures."""
