/* A client that sends one question at a time in a blocking loop, for comparison with netd probe.
 *
 *     ping tcp|udp HOST PORT COUNT SIZE MICROSECONDS
 *     ping unix PATH COUNT SIZE MICROSECONDS
 *
 * Sends COUNT questions of SIZE octets, one every MICROSECONDS, and reads each answer before the next question.
 * Prints the median of the time from sending to the whole answer, in microseconds.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int order(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

int main(int argc, char **argv) {
    static char out[65536], in[65536];
    int fd, one = 1, is_unix = argc == 6 && !strcmp(argv[1], "unix");
    if (argc != 7 && !is_unix) return fprintf(stderr, "usage: ping tcp|udp HOST PORT COUNT SIZE MICROSECONDS\n"), 64;
    char **rest = argv + (is_unix ? 3 : 4);
    int count = atoi(rest[0]), size = atoi(rest[1]);
    uint64_t interval = atoll(rest[2]) * 1000, *took = calloc(count, sizeof *took);
    if (count < 1 || size < 1 || size > (int)sizeof out || !took) return 64;
    if (is_unix) {
        struct sockaddr_un target = {.sun_family = AF_UNIX};
        strncpy(target.sun_path, argv[2], sizeof target.sun_path - 1);
        if ((fd = socket(AF_UNIX, SOCK_STREAM, 0)) < 0) die("socket");
        if (connect(fd, (struct sockaddr *)&target, sizeof target) < 0) die("connect");
    } else {
        struct sockaddr_in target = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[3]))};
        inet_pton(AF_INET, argv[2], &target.sin_addr);
        if ((fd = socket(AF_INET, argv[1][0] == 't' ? SOCK_STREAM : SOCK_DGRAM, 0)) < 0) die("socket");
        if (connect(fd, (struct sockaddr *)&target, sizeof target) < 0) die("connect");
        if (argv[1][0] == 't') setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    memset(out, 'x', sizeof out);
    uint64_t due = now();
    for (int i = 0; i < count; i++, due += interval) {
        uint64_t from = now();
        if (due > from) {
            struct timespec pause = {due / 1000000000ull, due % 1000000000ull};
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &pause, NULL);
        }
        from = now();
        if (send(fd, out, size, MSG_NOSIGNAL) != size) die("send");
        for (int got = 0, piece; got < size; got += piece)
            if ((piece = recv(fd, in, sizeof in, 0)) <= 0) die("recv");
        took[i] = now() - from;
    }
    qsort(took, count, sizeof *took, order);
    printf("%.1f\n", (took[(count - 1) / 2] + took[count / 2]) / 2000.0);
}
