/* Between these two callgrind counts. Without callgrind they do nothing. */
#include <valgrind/callgrind.h>

void count_from_here(void)
{
    CALLGRIND_START_INSTRUMENTATION;
    CALLGRIND_ZERO_STATS;
}

void count_to_here(const char *path)
{
    CALLGRIND_DUMP_STATS_AT(path);
    CALLGRIND_STOP_INSTRUMENTATION;
}
