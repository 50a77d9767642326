"""What the page Runs is made of: the table, what can be done to a run, and runs beside each other."""
