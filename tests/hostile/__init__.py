"""Bad input of every kind, really run: what happens, what is said, and proof that nothing else was harmed."""
