/* What stands around that which callgrind counts: `begin` and `end` switch counting on and off, `from_here` begins at 0, and
 * `to_here` writes what was counted since to a file of its own, under a name. Outside valgrind all do nothing. A shared
 * library, for ctypes. Switching throws away all that valgrind has translated, so it is done once a stage.
 */
#include <valgrind/callgrind.h>

void begin(void) { CALLGRIND_START_INSTRUMENTATION; }

void end(void) { CALLGRIND_STOP_INSTRUMENTATION; }

void from_here(void) { CALLGRIND_ZERO_STATS; }

void to_here(const char *name) { CALLGRIND_DUMP_STATS_AT(name); }
