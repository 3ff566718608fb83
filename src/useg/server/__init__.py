"""The door for browsers and other programs: HTTP calls of the rooms below."""
