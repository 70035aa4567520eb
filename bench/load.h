/* Common parts of all kinds of load: the clock, the exit on failure, and a histogram of times. */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SECOND 1000000000ull
#define BUCKETS (64 * 64)

static uint64_t histogram[BUCKETS];

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

/* Logarithmic buckets, 64 to each power of two, so that a percentile is right within 1.6 % whatever its size. */
static int bucket(uint64_t time) {
    if (time < 64) return time;
    int shift = 57 - __builtin_clzll(time);
    return (shift + 1) * 64 + (time >> shift) - 64;
}

static double percentile(double share) {
    uint64_t total = 0, seen = 0;
    for (int i = 0; i < BUCKETS; i++) total += histogram[i];
    for (int i = 0; i < BUCKETS; i++) {
        if (!histogram[i] || (seen += histogram[i]) < share * total) continue;
        int shift = i < 64 ? 0 : i / 64 - 1;
        return i < 64 ? i / 1e3 : (((64ull + i % 64) << shift) + (1ull << shift) / 2) / 1e3;
    }
    return 0;
}
