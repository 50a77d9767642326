"""The parts of the page Reconstruct, a file each."""
