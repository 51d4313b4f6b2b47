"""What everything stands on: errors, mask planes, text formats. Imports nothing else of dcrflow."""
