"""The face in C of the fusion: evidence of three signals in, one resolution out."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef enum:
    MAX_CANDIDATES = 8
    MAX_COUNTRIES = 4
    MAX_MEMBERS = 8

cdef enum SignalStatus:
    ABSENT = 0
    OK = 1
    INVALID = 2
    RESERVED = 3
    NOT_FOUND = 4
    UNASSIGNED = 5
    NON_GEOGRAPHIC = 6

cdef enum SignalBit:
    NO_SIGNAL = 0
    SERVING = 1
    HOME = 2
    IP = 4

cdef enum ConflictBit:
    HOME_ROUTED = 1
    IP_DISAGREES = 2
    AMBIGUOUS_MCC = 4
    COUNTRY_ALIAS = 8
    SUBDIVISION_UNKNOWN = 16
    NON_GEOGRAPHIC_PLMN = 32
    SIM_FOREIGN = 64
    SIM_ONLY = 128
    SOURCES_DISAGREE = 256
    NO_EVIDENCE = 512

# A region is a small integer, 0 is none. `countries` begins with the region's own country.
cdef struct RegionFacts:
    uint16_t own_country
    uint16_t countries[MAX_COUNTRIES]
    uint16_t members[MAX_MEMBERS]
    uint16_t without_service_from[MAX_COUNTRIES]
    uint8_t is_subdivision
    uint8_t is_named
    uint8_t is_watched

cdef struct PlmnFacts:
    uint16_t candidates[MAX_CANDIDATES]
    uint8_t candidate_count
    uint8_t is_override
    uint8_t confidence

cdef struct IpFacts:
    uint16_t country
    uint16_t subdivision
    uint8_t sources_disagree
    uint8_t is_blind
    uint8_t is_override

cdef struct Evidence:
    uint8_t ip_status
    uint8_t serving_status
    uint8_t home_status
    uint32_t ip_value
    uint16_t serving_value
    uint16_t home_value

cdef struct Resolution:
    uint16_t region
    uint16_t country
    uint16_t subdivision
    uint16_t conflicts
    uint8_t confidence
    uint8_t basis
    uint8_t used
    uint8_t row

cdef class Fusion:
    cdef RegionFacts* _regions
    cdef PlmnFacts* _plmns
    cdef IpFacts* _ips
    cdef readonly Py_ssize_t region_count
    cdef readonly Py_ssize_t plmn_count
    cdef readonly Py_ssize_t ip_count
    cdef void fuse(self, const Evidence* evidence, Resolution* out) noexcept nogil
