/* The load: as many requests as a server answers, from one thread that is faster than any server it measures.
 *
 *     load tcp|connect|bulk|udp HOST PORT IN_FLIGHT SIZE SECONDS
 *
 * tcp      IN_FLIGHT connections, on each one request of SIZE octets at a time
 * connect  the same with a connection for each request: connect, send, receive, close
 * bulk     IN_FLIGHT connections, on each as much as goes, SIZE octets a write
 * udp      IN_FLIGHT datagrams of SIZE octets under way; what is not back after 0.2 s is lost
 *
 * Prints one line: answers per second, then the percentiles 50, 99 and 99.9 of the time an answer took in microseconds
 * (0 for bulk, where answers are units of SIZE octets), then answers lost.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST 20000
#define SAMPLES (1 << 22)

static struct sockaddr_in target;
static char out[65536], in[1 << 20];
static int ep, in_flight, size, kind;
static uint64_t began[MOST], answers, lost;
static int left[MOST], position[MOST];
static uint32_t *samples, sampled;
static double until;

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void answered(uint64_t since) {
    answers++;
    if (sampled < SAMPLES) samples[sampled++] = now() - since;
}

static void request(int fd) {
    began[fd] = now();
    left[fd] = size;
    if (send(fd, out, size, MSG_NOSIGNAL) != size) die("send");
}

static void open_one(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct linger reset = {1, 0}; /* no TIME_WAIT, of which the ports would run out */
    if (fd < 0 || fd >= MOST) die("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (kind == 'c') setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    uint64_t since = now();
    if (connect(fd, (struct sockaddr *)&target, sizeof target) < 0) die("connect");
    struct epoll_event ev = {.events = kind == 'b' ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.fd = fd};
    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
    if (kind == 'b') fcntl(fd, F_SETFL, O_NONBLOCK), position[fd] = 0;
    else request(fd), began[fd] = since;
}

static void streams(void) {
    struct epoll_event events[256];
    uint64_t bytes = 0;
    for (int i = 0; i < in_flight; i++) open_one();
    while (now() < until) {
        int n = epoll_wait(ep, events, 256, 100);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (events[i].events & EPOLLOUT) send(fd, out, size, MSG_NOSIGNAL);
            if (!(events[i].events & ~EPOLLOUT)) continue;
            ssize_t got = recv(fd, in, sizeof in, kind == 'b' ? MSG_TRUNC : 0);
            if (got <= 0) {
                if (got < 0 && errno == EAGAIN) continue;
                die("recv");
            }
            if (kind == 'b') {
                bytes += got;
                continue;
            }
            if ((left[fd] -= got) > 0) continue;
            answered(began[fd]);
            if (kind == 't') request(fd);
            else close(fd), open_one();
        }
    }
    if (kind == 'b') answers = bytes / size;
}

static void datagrams(void) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0), room = 4 << 20, window = in_flight;
    uint64_t sent = 0, back = 0, heard = now();
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    if (connect(fd, (struct sockaddr *)&target, sizeof target) < 0) die("connect");
    fcntl(fd, F_SETFL, O_NONBLOCK);
    while (now() < until) {
        while (sent - back < (uint64_t)window) {
            uint64_t stamp = now();
            memcpy(out, &stamp, sizeof stamp);
            if (send(fd, out, size, 0) != size) break;
            sent++;
        }
        ssize_t got = recv(fd, in, sizeof in, 0);
        if (got == size) {
            uint64_t stamp;
            memcpy(&stamp, in, sizeof stamp);
            heard = now();
            back++;
            answered(stamp);
        } else if (now() - heard > 200000000ull) {
            lost += sent - back;
            back = sent;
            heard = now();
        }
    }
}

static int order(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static double percentile(double share) {
    return sampled ? samples[(uint32_t)(share * (sampled - 1))] / 1000.0 : 0;
}

int main(int argc, char **argv) {
    if (argc != 7) return fprintf(stderr, "usage: load tcp|connect|bulk|udp HOST PORT IN_FLIGHT SIZE SECONDS\n"), 64;
    kind = argv[1][0];
    target.sin_family = AF_INET;
    target.sin_port = htons(atoi(argv[3]));
    inet_pton(AF_INET, argv[2], &target.sin_addr);
    in_flight = atoi(argv[4]);
    size = atoi(argv[5]);
    double seconds = atof(argv[6]);
    samples = malloc(SAMPLES * sizeof *samples);
    memset(out, 'x', sizeof out);
    ep = epoll_create1(0);
    uint64_t start = now();
    until = start + seconds * 1e9;
    if (kind == 'u') datagrams();
    else streams();
    double took = (now() - start) / 1e9;
    qsort(samples, sampled, sizeof *samples, order);
    printf("%.0f %.1f %.1f %.1f %llu\n", answers / took, percentile(.5), percentile(.99), percentile(.999), (unsigned long long)lost);
}
