"""The sections of the page Generate, a file each, and what they share."""
