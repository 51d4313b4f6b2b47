"""Private interfaces of dependencies, each with the reason, the versions it was tried with, and when it can go."""
