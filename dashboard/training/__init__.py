"""What the page Train is made of: the form, the process, and what there is to see while it runs."""
