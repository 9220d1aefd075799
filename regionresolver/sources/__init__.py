"""IP databases, the PLMN table and the region catalogue, read into one vocabulary."""
