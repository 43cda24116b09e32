"""models: networks by name and size."""
