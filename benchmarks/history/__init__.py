"""What was measured before: a file of records, the points at which figures changed, and a page that shows them."""
