"""The data that is shipped; each file is read by the room that owns its format.

- `embedded.mmdb`: the IP database that is used when none is given: country, and the subdivisions of the region catalogue,
  reduced from DB-IP City Lite (CC BY 4.0, see NOTICE) by `make embedded-db`; read by `index.mmdb`;
- `regions.toml`: the region catalogue; read by `sources.catalogue`;
- `plmn.toml`: which region a mobile network code says; read by `sources.plmn`;
- `policies/`: the policies that are shipped, `default.toml` among them; read by `policy`;
- `NOTICE`: whose data this is, under which licence, and what was changed.
"""
