"""Private interfaces of dependencies, a module each.

No other module imports a private name or module of a dependency (``tests/test_private_names.py``). Each module here
says why it is needed, which public ways were tried, with which versions it works, and when it can be removed.
"""
