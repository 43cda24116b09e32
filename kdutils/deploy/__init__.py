"""deploy: a student as one file, and what a device needs to read it."""
