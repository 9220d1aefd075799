# cython: boundscheck=False, wraparound=False, freethreading_compatible=True
# Earned by Fusion.__cinit__, which copies into arrays of fixed sizes with every region id checked, and by
# Fusion.resolve, which checks the three value ids; fuse() indexes with nothing else.
"""Evidence of three signals to one region: the table "Signals to region" compiled.

In: for each signal a status and a value id (of the index's value table, of the PLMN table). Out: a region, its
confidence in hundredths, the signal that decided, the conflicts and the row of the table. Nothing here raises
or allocates once the tables are built.

The rules behind the rows (docs/fusion.md is the table itself, tests/reference/fusion.py its readable form):

1. A serving PLMN says where the phone is. No SIM and no IP outweighs it; they confirm it, choose among its
   candidates, or name the subdivision inside its country.
2. Without one the IP decides, and a SIM confirms it or is foreign to it. A SIM alone says little.
3. A subdivision may be filed under several countries (Crimea under UA and RU). A signal that names any of them
   agrees with it; the subdivision's own country is the one that is answered.
4. "Not in a subdivision" is only said by evidence that could have seen it: else `subdivision_unknown`.
5. What an operator's override says of a network is IP evidence, and knows a subdivision as surely as a country.
"""

cimport cython
from libc.stdint cimport uint8_t, uint16_t
from libc.stdlib cimport calloc, free


# Confidences in hundredths, in one place; the name ends in the row of docs/fusion.md.
cdef enum Confidence:
    NOTHING_13 = 0
    SIM_ALONE_17 = 40
    AMBIGUOUS_DEFAULT_5 = 50
    IP_WITH_FOREIGN_SIM_10 = 60
    SUBDIVISION_BY_IP_2_11 = 60
    SERVING_AGAINST_SUBDIVISION_6B = 60
    SUBDIVISION_BY_ALIAS_6 = 70
    SUBDIVISION_BY_OVERRIDE_2_5_6_9_11 = 80
    AMBIGUOUS_BY_SIM_5 = 75
    SUBDIVISION_UNKNOWN_7 = 80
    IP_ALONE_11 = 80
    IP_DISAGREES_4 = 85
    HOME_ROUTED_3 = 90
    AMBIGUOUS_BY_IP_5 = 90
    SIM_CONFIRMS_IP_9 = 90
    SERVING_WITH_FOREIGN_SIM_16 = 90
    SERVING_ALONE_2 = 90
    SERVING_CONFIRMED_2 = 98

# 6b is written as 60 + 2 so that every row is one small integer.
cdef enum Row:
    ROW_1 = 1
    ROW_2 = 2
    ROW_3 = 3
    ROW_4 = 4
    ROW_5 = 5
    ROW_6 = 6
    ROW_7 = 7
    ROW_9 = 9
    ROW_10 = 10
    ROW_11 = 11
    ROW_13 = 13
    ROW_16 = 16
    ROW_17 = 17
    ROW_6B = 62

ROW_NAMES = {
    ROW_1: "1", ROW_2: "2", ROW_3: "3", ROW_4: "4", ROW_5: "5", ROW_6: "6", ROW_6B: "6b", ROW_7: "7",
    ROW_9: "9", ROW_10: "10", ROW_11: "11", ROW_13: "13", ROW_16: "16", ROW_17: "17",
}
STATUS_IDS = {
    "absent": ABSENT, "ok": OK, "invalid": INVALID, "reserved": RESERVED, "not_found": NOT_FOUND,
    "unassigned": UNASSIGNED, "non_geographic": NON_GEOGRAPHIC,
}
SIGNAL_BITS = {"serving_plmn": SERVING, "home_plmn": HOME, "ip": IP}
CONFLICT_BITS = {
    "home_routed": HOME_ROUTED, "ip_disagrees": IP_DISAGREES, "ambiguous_mcc": AMBIGUOUS_MCC,
    "country_alias": COUNTRY_ALIAS, "subdivision_unknown": SUBDIVISION_UNKNOWN,
    "non_geographic_plmn": NON_GEOGRAPHIC_PLMN, "sim_foreign": SIM_FOREIGN, "sim_only": SIM_ONLY,
    "sources_disagree": SOURCES_DISAGREE, "no_evidence": NO_EVIDENCE,
}
SIGNAL_ALONE = {"serving_plmn": SERVING_ALONE_2, "serving_ambiguous": AMBIGUOUS_DEFAULT_5, "ip": IP_ALONE_11,
                "ip_subdivision": SUBDIVISION_BY_IP_2_11, "ip_override": SUBDIVISION_BY_OVERRIDE_2_5_6_9_11,
                "home_plmn": SIM_ALONE_17}


cdef inline bint holds(const uint16_t* ids, int size, uint16_t wanted) noexcept nogil:
    """Tell whether a list that ends at its first 0 or at `size` holds `wanted`."""
    cdef int i
    for i in range(size):
        if ids[i] == wanted:
            return wanted != 0
        if ids[i] == 0:
            return False
    return False


cdef inline bint share_country(const RegionFacts* a, const RegionFacts* b) noexcept nogil:
    """Tell whether two regions are filed under one country at least."""
    cdef int i
    for i in range(MAX_COUNTRIES):
        if a.countries[i] == 0:
            return False
        if holds(b.countries, MAX_COUNTRIES, a.countries[i]):
            return True
    return False


cdef inline uint8_t at_most(uint8_t confidence, uint8_t limit) noexcept nogil:
    return confidence if confidence < limit else limit


cdef uint16_t checked(Py_ssize_t region_count, Py_ssize_t region) except? 0xFFFF:
    if not 0 <= region < region_count or region >= 0xFFFF:
        raise ValueError(f"region id {region} is outside the table of {region_count}")
    return <uint16_t>region


cdef int copy(Py_ssize_t region_count, uint16_t* target, Py_ssize_t size, ids) except -1:
    cdef Py_ssize_t i
    if len(ids) > size:
        raise ValueError(f"{len(ids)} regions in a list that holds {size}")
    for i in range(len(ids)):
        target[i] = checked(region_count, ids[i])
    return 0


cdef inline void answer(
    const RegionFacts* regions, uint16_t region, uint8_t confidence, uint8_t row, Resolution* out
) noexcept nogil:
    out.region = region
    out.country = regions[region].own_country
    out.subdivision = region if regions[region].is_subdivision else 0
    out.confidence = confidence
    out.row = row


cdef inline bint ip_is_under(const RegionFacts* regions, const IpFacts* ip, uint16_t country) noexcept nogil:
    """Tell whether the IP's region is filed under `country`, whatever the database calls it."""
    if ip.subdivision:
        return holds(regions[ip.subdivision].countries, MAX_COUNTRIES, country)
    return ip.country == country


cdef inline uint8_t subdivision_by(const IpFacts* ip, uint8_t by_database) noexcept nogil:
    """How sure the subdivision of an IP is: what the row gives a database's word, more where the operator says it."""
    return <uint8_t>SUBDIVISION_BY_OVERRIDE_2_5_6_9_11 if ip.is_override else by_database


cdef inline bint ip_shares_country(const RegionFacts* regions, const IpFacts* ip, uint16_t region) noexcept nogil:
    return share_country(&regions[ip.subdivision if ip.subdivision else ip.country], &regions[region])


cdef inline bint plmn_shares_country(const RegionFacts* regions, const PlmnFacts* plmn, uint16_t region) noexcept nogil:
    cdef int i
    for i in range(plmn.candidate_count):
        if share_country(&regions[plmn.candidates[i]], &regions[region]):
            return True
    return False


cdef inline bint ip_is_in(const RegionFacts* regions, const IpFacts* ip, uint16_t region) noexcept nogil:
    """Tell whether the IP lies in a region: a country, a subdivision, or a member of a named region."""
    cdef const RegionFacts* facts = &regions[region]
    if facts.is_subdivision:
        return ip.subdivision == region
    if facts.is_named:
        return holds(facts.members, MAX_MEMBERS, ip.subdivision)
    if ip.subdivision:
        return regions[ip.subdivision].own_country == region
    return ip.country == region


cdef inline bint sim_is_elsewhere(const RegionFacts* regions, const PlmnFacts* home, uint16_t region) noexcept nogil:
    return home != NULL and not plmn_shares_country(regions, home, region)


cdef inline void note_ip_elsewhere(
    const RegionFacts* regions, const IpFacts* ip, const PlmnFacts* home, uint16_t region, Resolution* out
) noexcept nogil:
    """Name why the IP is elsewhere: in the SIM's country (home routed, which explains the SIM as well) or not."""
    if home != NULL and plmn_shares_country(regions, home, ip.subdivision if ip.subdivision else ip.country):
        out.conflicts |= HOME_ROUTED
        out.used |= HOME
    else:
        out.conflicts |= IP_DISAGREES
        if sim_is_elsewhere(regions, home, region):
            out.conflicts |= SIM_FOREIGN


cdef void override(
    const RegionFacts* regions, const PlmnFacts* serving, const IpFacts* ip, const PlmnFacts* home, Resolution* out
) noexcept nogil:
    """Row 1: the operator is known to serve one region. An IP can only narrow it to a member."""
    cdef uint16_t region = serving.candidates[0]
    if ip != NULL and not ip_shares_country(regions, ip, region):
        note_ip_elsewhere(regions, ip, home, region, out)
    elif sim_is_elsewhere(regions, home, region):
        out.conflicts |= SIM_FOREIGN
    if ip != NULL and ip_is_in(regions, ip, region):
        out.used |= IP
        if regions[region].is_named:
            region = ip.subdivision
    answer(regions, region, serving.confidence, ROW_1, out)


cdef void serving_country(
    const RegionFacts* regions, uint16_t country, const IpFacts* ip, const PlmnFacts* home, Resolution* out
) noexcept nogil:
    """Rows 2 to 4, 6, 6b, 7 and 14 to 16: the serving network is of one country."""
    cdef bint sim_elsewhere = sim_is_elsewhere(regions, home, country)
    if ip == NULL:
        serving_without_ip(regions, country, home, sim_elsewhere, out)
        return
    if not ip_is_under(regions, ip, country):
        note_ip_elsewhere(regions, ip, home, country, out)
        if out.conflicts & HOME_ROUTED:
            answer(regions, country, HOME_ROUTED_3, ROW_3, out)
        else:
            answer(regions, country, IP_DISAGREES_4, ROW_4, out)
        return
    serving_with_ip(regions, country, ip, out)
    if sim_elsewhere:
        out.conflicts |= SIM_FOREIGN
        if out.confidence > SERVING_WITH_FOREIGN_SIM_16:
            out.confidence = SERVING_WITH_FOREIGN_SIM_16
            out.row = ROW_16
    elif home != NULL:
        out.used |= HOME


cdef void serving_with_ip(const RegionFacts* regions, uint16_t country, const IpFacts* ip, Resolution* out) noexcept nogil:
    """Rows 2, 6, 6b and 7: the IP is filed under the serving country."""
    cdef const RegionFacts* within
    if ip.subdivision == 0:
        out.used |= IP
        if ip.is_blind:
            out.conflicts |= SUBDIVISION_UNKNOWN
            answer(regions, country, SUBDIVISION_UNKNOWN_7, ROW_7, out)
        else:
            answer(regions, country, SERVING_CONFIRMED_2, ROW_2, out)
        return
    within = &regions[ip.subdivision]
    if holds(within.without_service_from, MAX_COUNTRIES, country):
        out.conflicts |= IP_DISAGREES
        answer(regions, country, SERVING_AGAINST_SUBDIVISION_6B, ROW_6B, out)
    elif within.own_country != country:
        out.used |= IP
        out.conflicts |= COUNTRY_ALIAS
        answer(regions, ip.subdivision, subdivision_by(ip, SUBDIVISION_BY_ALIAS_6), ROW_6, out)
    else:
        out.used |= IP
        answer(regions, ip.subdivision, subdivision_by(ip, SUBDIVISION_BY_IP_2_11), ROW_2, out)


cdef void serving_without_ip(
    const RegionFacts* regions, uint16_t country, const PlmnFacts* home, bint sim_elsewhere, Resolution* out
) noexcept nogil:
    """Rows 2 and 16 without an IP: the SIM alone confirms or is foreign, and no one saw a subdivision."""
    if sim_elsewhere:
        out.conflicts |= SIM_FOREIGN
        answer(regions, country, SERVING_WITH_FOREIGN_SIM_16, ROW_16, out)
    elif home != NULL:
        out.used |= HOME
        answer(regions, country, SERVING_CONFIRMED_2, ROW_2, out)
    else:
        answer(regions, country, SERVING_ALONE_2, ROW_2, out)
    if regions[country].is_watched:
        out.conflicts |= SUBDIVISION_UNKNOWN
        out.confidence = at_most(out.confidence, SUBDIVISION_UNKNOWN_7)


cdef void shared_plmn(
    const RegionFacts* regions, const PlmnFacts* serving, const IpFacts* ip, const PlmnFacts* home, Resolution* out
) noexcept nogil:
    """Row 5: several regions share the PLMN; the IP chooses, else the SIM, else the default."""
    cdef uint16_t chosen = 0
    cdef uint8_t confidence = AMBIGUOUS_DEFAULT_5
    cdef int i, matches = 0
    out.conflicts |= AMBIGUOUS_MCC
    if ip != NULL:
        for i in range(serving.candidate_count):
            if ip_is_in(regions, ip, serving.candidates[i]):
                chosen = serving.candidates[i]
                confidence = AMBIGUOUS_BY_IP_5
                out.used |= IP
                if ip.subdivision and regions[ip.subdivision].own_country == chosen:
                    chosen = ip.subdivision
                    confidence = subdivision_by(ip, SUBDIVISION_BY_IP_2_11)
                break
    if chosen == 0 and home != NULL:
        for i in range(serving.candidate_count):
            if holds(home.candidates, home.candidate_count, serving.candidates[i]):
                matches += 1
                if matches == 1:
                    chosen = serving.candidates[i]
        if matches == 1:
            confidence = AMBIGUOUS_BY_SIM_5
            out.used |= HOME
    if chosen == 0:
        chosen = serving.candidates[0]
    if ip != NULL and not out.used & IP:
        note_ip_elsewhere(regions, ip, home, chosen, out)
    elif sim_is_elsewhere(regions, home, chosen):
        out.conflicts |= SIM_FOREIGN
    answer(regions, chosen, confidence, ROW_5, out)


cdef void ip_first(const RegionFacts* regions, const IpFacts* ip, const PlmnFacts* home, Resolution* out) noexcept nogil:
    """Rows 9 to 11: no serving network, the phone is on Wi-Fi somewhere."""
    cdef uint16_t region = ip.subdivision if ip.subdivision else ip.country
    cdef uint8_t by_level = subdivision_by(ip, SUBDIVISION_BY_IP_2_11) if ip.subdivision else <uint8_t>IP_ALONE_11
    cdef bint is_blind = ip.is_blind
    cdef int i
    cdef bint agrees = False
    cdef bint names_subdivision = False
    cdef bint under_own_country = False
    cdef const RegionFacts* candidate
    if home == NULL:
        answer(regions, region, by_level, ROW_11, out)
    else:
        for i in range(home.candidate_count):
            candidate = &regions[home.candidates[i]]
            if not share_country(candidate, &regions[region]):
                continue
            if not (candidate.is_subdivision or candidate.is_named):
                agrees = True
                under_own_country |= home.candidates[i] == regions[region].own_country
            elif ip_is_in(regions, ip, home.candidates[i]):
                agrees = names_subdivision = under_own_country = True
            elif is_blind:
                agrees = under_own_country = True
        if agrees:
            out.used |= HOME
            if not under_own_country:
                out.conflicts |= COUNTRY_ALIAS
            answer(
                regions, region, by_level if ip.subdivision and not names_subdivision else <uint8_t>SIM_CONFIRMS_IP_9, ROW_9, out
            )
        else:
            out.conflicts |= SIM_FOREIGN
            answer(regions, region, IP_WITH_FOREIGN_SIM_10, ROW_10, out)
    if is_blind:
        out.conflicts |= SUBDIVISION_UNKNOWN
        out.confidence = at_most(out.confidence, SUBDIVISION_UNKNOWN_7)


cdef void sim_only(const RegionFacts* regions, const PlmnFacts* home, Resolution* out) noexcept nogil:
    """Row 17: where the subscription was sold is all that is known."""
    out.basis = out.used = HOME
    out.conflicts |= SIM_ONLY
    if home.candidate_count > 1:
        out.conflicts |= AMBIGUOUS_MCC
    answer(regions, home.candidates[0], SIM_ALONE_17, ROW_17, out)


@cython.final
@cython.auto_pickle(False)
cdef class Fusion:
    """The tables that fusion reads, copied into C: regions, PLMN rows and the index's values; id 0 is "none" in each.

    `regions`: (own_country, countries, members, without_service_from, is_subdivision, is_named, is_watched) a region.
    `plmns`: (candidates, is_override, confidence in hundredths) a PLMN row. `ips`: (country, subdivision,
    sources_disagree, is_blind, is_override) a value of the index, or an override of an operator's; it is blind when no
    source that gave it could have told the country's subdivisions apart. Raises ValueError for an id outside `regions`
    or a list that is too long.
    """

    def __cinit__(self, regions, plmns, ips):
        cdef Py_ssize_t i
        cdef RegionFacts* region
        cdef PlmnFacts* plmn
        if not (regions and plmns and ips):
            raise ValueError("each table needs its entry 0")
        self.region_count, self.plmn_count, self.ip_count = len(regions), len(plmns), len(ips)
        self._regions = <RegionFacts*>calloc(max(self.region_count, 1), sizeof(RegionFacts))
        self._plmns = <PlmnFacts*>calloc(max(self.plmn_count, 1), sizeof(PlmnFacts))
        self._ips = <IpFacts*>calloc(max(self.ip_count, 1), sizeof(IpFacts))
        if self._regions == NULL or self._plmns == NULL or self._ips == NULL:
            raise MemoryError
        for i, (own, countries, members, deserters, is_subdivision, is_named, is_watched) in enumerate(regions):
            region = &self._regions[i]
            region.own_country = checked(self.region_count, own)
            copy(self.region_count, region.countries, MAX_COUNTRIES, countries)
            copy(self.region_count, region.members, MAX_MEMBERS, members)
            copy(self.region_count, region.without_service_from, MAX_COUNTRIES, deserters)
            region.is_subdivision, region.is_named = is_subdivision, is_named
            region.is_watched = is_watched
        for i, (candidates, is_override, confidence) in enumerate(plmns):
            plmn = &self._plmns[i]
            copy(self.region_count, plmn.candidates, MAX_CANDIDATES, candidates)
            plmn.candidate_count = len(candidates)
            plmn.is_override, plmn.confidence = is_override, confidence
        for i, (country, subdivision, sources_disagree, is_blind, is_override) in enumerate(ips):
            self._ips[i].country = checked(self.region_count, country)
            self._ips[i].subdivision = checked(self.region_count, subdivision)
            self._ips[i].sources_disagree = sources_disagree
            self._ips[i].is_blind = is_blind and not subdivision
            self._ips[i].is_override = is_override

    def __dealloc__(self):
        free(self._regions)
        free(self._plmns)
        free(self._ips)

    def resolve(
        self,
        int ip_status,
        Py_ssize_t ip_value,
        int serving_status,
        Py_ssize_t serving_value,
        int home_status,
        Py_ssize_t home_value,
    ):
        """Fuse three signals, each a status (STATUS_IDS) and a value id, into one resolution.

        Returns (region, country, subdivision, conflicts, confidence in hundredths, basis, used, row); regions are
        ids, `conflicts` a set of CONFLICT_BITS, `basis` and `used` of SIGNAL_BITS. Raises IndexError for a value
        id outside its table.
        """
        cdef Evidence evidence
        cdef Resolution out
        if not (0 <= ip_value < self.ip_count and 0 <= serving_value < self.plmn_count and 0 <= home_value < self.plmn_count):
            raise IndexError("a value id is outside its table")
        evidence.ip_status, evidence.ip_value = ip_status, ip_value
        evidence.serving_status, evidence.serving_value = serving_status, serving_value
        evidence.home_status, evidence.home_value = home_status, home_value
        self.fuse(&evidence, &out)
        return out.region, out.country, out.subdivision, out.conflicts, out.confidence, out.basis, out.used, out.row

    cdef void fuse(self, const Evidence* evidence, Resolution* out) noexcept nogil:
        """Apply the table: the first row that fits decides."""
        cdef const IpFacts* ip = NULL
        cdef const PlmnFacts* serving = NULL
        cdef const PlmnFacts* home = NULL
        out.region = out.country = out.subdivision = out.conflicts = 0
        out.confidence = out.basis = out.used = 0
        if evidence.ip_status == OK:
            ip = &self._ips[evidence.ip_value]
            if ip.sources_disagree:
                out.conflicts |= SOURCES_DISAGREE
        if evidence.serving_status == OK:
            serving = &self._plmns[evidence.serving_value]
        elif evidence.serving_status == NON_GEOGRAPHIC:
            out.conflicts |= NON_GEOGRAPHIC_PLMN
        if evidence.home_status == OK:
            home = &self._plmns[evidence.home_value]

        if serving != NULL:
            out.basis = SERVING
            out.used = SERVING
            if serving.candidate_count > 1:
                shared_plmn(self._regions, serving, ip, home, out)
            elif serving.is_override:
                override(self._regions, serving, ip, home, out)
            else:
                serving_country(self._regions, serving.candidates[0], ip, home, out)
        elif ip != NULL:
            out.basis = IP
            out.used = IP
            ip_first(self._regions, ip, home, out)
        elif home != NULL:
            sim_only(self._regions, home, out)
        else:
            out.row = ROW_13
            out.confidence = NOTHING_13
            out.conflicts |= NO_EVIDENCE
