"""Each goal of the design, measured beside what the machine itself can do."""
