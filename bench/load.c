/* The load: as many requests as a server answers, or a fixed rate, from one thread that has a core and never sleeps, so
 * that the server is the bottleneck.
 *
 *     load KIND -p PORT [-n NUMBER] [-s SIZE] [-q REQUEST] [-a ANSWER] [-g GREETING] [-r RATE] [-m SOURCES]
 *               [-t SECONDS] [-w WARM_UP] [-e PORT]
 *
 * tcp      NUMBER connections, one request at a time on each; with RATE, that many a second spread over them
 * connect  NUMBER at a time: connect, send a request, receive the answer, close, see the server close; with RATE, that
 *          many a second, NUMBER at most at a time, and then this process sleeps, since it is a load beside another one
 * bulk     NUMBER connections, writes of SIZE octets as fast as possible on each; all answers are read
 * sink     NUMBER connections on which only the server sends
 * udp      NUMBER outstanding requests, from SOURCES addresses in turn; with RATE, that many a second.
 *          A request without an answer after 0.2 s is lost.
 * idle     NUMBER connections, one request and its answer on each; then nothing
 *
 * A request is SIZE octets or the text REQUEST (\n for a line end); its answer has ANSWER octets, by default as many.
 * A server that sends first sends GREETING octets. With -e it also is the echo at that port to which a server forwards:
 * in the same thread, since a process of its own would have to share the core with one that never sleeps.
 *
 * Prints `ready` when all connections have been answered once and it has run for WARM_UP seconds, waits for a line on
 * standard input, measures for SECONDS, prints a JSON object, and waits for another line, with its connections open.
 * Times are microseconds: in a closed loop from sending, at a fixed rate from when the request should have been sent,
 * so that a server that falls behind cannot hide it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

#define RAMP 64                 /* connections opened at the same time: less than the shortest backlog */
#define OPEN_TIMEOUT (60 * SECOND) /* for one answer on every connection */
#define LOST (SECOND / 5)       /* after this time a request in a datagram is lost */
#define SILENCE (2 * SECOND)    /* extra time for a server without any answer yet */
#define GRACE SECOND            /* at a fixed rate, for requests outstanding at the end */
#define DEEP 256                /* outstanding requests on one connection: fewer than the kernel's buffers hold */
#define BATCH 64                /* datagrams a system call */
#define PORTS 8192              /* connections from one source address */
#define FLEETING 20000          /* the same, of short connections */

enum stage { CLOSED, CONNECTING, GREETING, PROVING, OPEN, ENDING };

struct connection {
    int fd, left; /* octets of the answer still to come */
    enum stage stage;
    uint64_t began;
    uint64_t due, sent, answered; /* at a fixed rate: requests, in order */
};

static char kind, out[65536], in[1 << 20];
static int ep, number = 1, size = 64, answer, greeting, sources = 1, port, proven, target_port, listener = -1;
static double rate, seconds = 1, warm_up;
static struct connection *connections;
static uint64_t start, answers, bytes, lost, opened;

static void answered(uint64_t since, uint64_t when) {
    if (since < start) return; /* sent before the measurement */
    answers++;
    histogram[bucket(when - since)]++;
}

/* A server without any answer gets some more time before it counts as failed: it may be slow. */
static int silent(uint64_t clock, uint64_t end) { return !rate && !answers && !bytes && clock < end + SILENCE; }

/* At a fixed rate, the time at which request `nth` is due. */
static uint64_t intended(uint64_t nth) { return start + (uint64_t)(nth * (SECOND / rate)); }

/* Whether there is more to do before `end`: at a fixed rate until request `nth` is no longer due before it, however
 * late that is, so that the number of requests is the same in every run. */
static int goes_on(uint64_t clock, uint64_t end, uint64_t nth) {
    return rate ? clock < end || intended(nth) < end : clock < end || silent(clock, end);
}

/* At a fixed rate, whether request `nth` is due by now. */
static int is_due(uint64_t nth, uint64_t clock, uint64_t end) { return intended(nth) <= clock && intended(nth) < end; }

static void await(struct connection *c, int events) {
    struct epoll_event ev = {.events = events, .data.u32 = c - connections};
    epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &ev);
}

static struct sockaddr_in loopback(uint32_t host, int at) {
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(at), .sin_addr.s_addr = htonl(host)};
}

static void open_one(struct connection *c) {
    int one = 1, i = c - connections;
    /* A port is taken while its connection is open, and for a while after that. The first address is 127.0.0.1 as long
     * as can be, since some servers look up the names of their clients. */
    int address = (kind == 'c' ? opened++ / FLEETING % 250 : i / PORTS);
    struct sockaddr_in from = loopback(INADDR_LOOPBACK + address, 0);
    struct sockaddr_in to = loopback(INADDR_LOOPBACK, port);
    struct linger reset = {1, 0}; /* at the end of a measurement: nothing is left in TIME_WAIT */
    if ((c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)) < 0) fail("socket: %m");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (kind != 'c') setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    if (address) {
        setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(c->fd, (struct sockaddr *)&from, sizeof from) < 0) fail("bind: %m");
    }
    c->stage = CONNECTING;
    c->began = now();
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS) fail("connect: %m");
    struct epoll_event ev = {.events = EPOLLOUT, .data.u32 = i};
    epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev);
}

static void request(struct connection *c) {
    c->left = answer;
    if (send(c->fd, out, size, MSG_NOSIGNAL) != size) fail("send: %m");
}

/* At a fixed rate: send the requests that are due, up to DEEP outstanding ones. */
static void catch_up(struct connection *c) {
    while (c->sent < c->due && c->sent - c->answered < DEEP) {
        if (send(c->fd, out, size, MSG_NOSIGNAL) != size) fail("send: %m");
        c->sent++;
    }
}

static void connected(struct connection *c) {
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error) fail("connect: %s", strerror(error));
    await(c, EPOLLIN);
    c->stage = greeting || kind == 's' ? GREETING : PROVING;
    c->left = kind == 's' ? 1 : greeting;
    if (c->stage == PROVING) request(c);
}

/* A complete answer was received. */
static void complete(struct connection *c) {
    uint64_t when = now();
    switch (c->stage) {
    case GREETING:
        c->stage = PROVING;
        if (kind != 's') return request(c); /* else fall through */
    case PROVING:
        proven++;
        c->stage = OPEN;
        if (kind == 'b') await(c, EPOLLIN | EPOLLOUT);
        else if (kind == 'c') c->stage = ENDING, shutdown(c->fd, SHUT_WR);
        return;
    case OPEN:
        if (rate) {
            answered(intended(c->answered++ * number + (c - connections)), when);
            c->left = answer, catch_up(c);
        } else {
            answered(c->began, when);
            c->began = when, request(c);
        }
    default:
        return;
    }
}

static void received(struct connection *c, int got) {
    if (c->stage == OPEN && (kind == 'b' || kind == 's')) {
        bytes += got;
        return;
    }
    if (kind == 's') got = 1; /* the first octets of many */
    while (got) {
        int part = got < c->left ? got : c->left;
        if (!part) fail("the server sent more than expected");
        got -= part;
        if (!(c->left -= part)) complete(c);
    }
}

static void happened(struct connection *c, int events) {
    if (c->stage == CONNECTING) {
        connected(c);
        return;
    }
    if (events & EPOLLOUT) send(c->fd, out, size, MSG_NOSIGNAL);
    if (!(events & ~EPOLLOUT)) return;
    /* With MSG_TRUNC the kernel discards the octets without a copy (tcp(7)). */
    ssize_t got = recv(c->fd, in, sizeof in, MSG_TRUNC);
    if (got > 0) received(c, got);
    else if (got == 0 && c->stage == ENDING) {
        close(c->fd);
        c->stage = CLOSED;
        answered(c->began, now());
        if (!rate) open_one(c);
    } else if (got == 0) fail("the server closed a connection");
    else if (errno != EAGAIN) fail("recv: %m");
}

/* The target: its descriptors are those in epoll that are beyond the connections. */
static void watch_target(int fd) {
    struct epoll_event ev = {.events = EPOLLIN, .data.u32 = number + fd};
    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
}

static void open_target(void) {
    int one = 1;
    struct sockaddr_in at = loopback(INADDR_LOOPBACK, target_port);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) < 0 || listen(listener, 1024) < 0) fail("target: %m");
    watch_target(listener);
}

static void echo(int fd) {
    /* In bulk, only what could be sent is taken. */
    ssize_t got = recv(fd, in, sizeof out, kind == 'b' ? MSG_PEEK : 0);
    if (got == 0 || (got < 0 && errno != EAGAIN)) close(fd);
    if (got <= 0) return;
    ssize_t sent = send(fd, in, got, MSG_NOSIGNAL);
    if (kind == 'b' && sent > 0) recv(fd, in, sent, MSG_TRUNC);
}

static void at_target(int fd) {
    if (fd != listener) return echo(fd);
    for (int one; (one = accept4(fd, NULL, NULL, SOCK_NONBLOCK)) >= 0;) watch_target(one);
}

static void turn(int milliseconds) {
    struct epoll_event events[256];
    int n = epoll_wait(ep, events, 256, milliseconds);
    for (int i = 0; i < n; i++) {
        int place = events[i].data.u32;
        place < number ? happened(connections + place, events[i].events) : at_target(place - number);
    }
}

static void open_all(void) {
    uint64_t limit = now() + OPEN_TIMEOUT;
    for (int i = 0; proven < number;) {
        while (i < number && i - proven < RAMP) open_one(connections + i++);
        turn(10);
        if (now() > limit) fail("%d of %d connections were answered in time", proven, number);
    }
    /* Requests begin after all connections are open: a busy server would take long to accept the rest. */
    for (int i = 0; kind == 't' && !rate && i < number; i++) connections[i].began = now(), request(connections + i);
}

/* At a fixed rate: the connection that is due. Without a free one it is lost. */
static void connect_due(uint64_t due) {
    for (int i = 0; i < number; i++) {
        if (connections[i].stage != CLOSED) continue;
        open_one(connections + i);
        connections[i].began = due;
        return;
    }
}

static void run_streams(double duration) {
    uint64_t due = 0, end = start + duration * SECOND, clock;
    while (goes_on(clock = now(), end, due)) {
        for (; rate && is_due(due, clock, end); due++) {
            if (kind == 'c') {
                connect_due(intended(due));
                continue;
            }
            struct connection *c = connections + due % number;
            c->due++;
            catch_up(c);
        }
        turn(kind == 'c' && rate);
    }
    if (!rate) return;
    for (end += GRACE; answers < due && now() < end;) turn(kind == 'c');
    lost = due - answers;
}

#include "datagrams.h"

/* --- both --- */

static void run(double duration) {
    start = now();
    answers = bytes = lost = 0;
    memset(histogram, 0, sizeof histogram);
    for (int i = 0; connections && i < number; i++) {
        struct connection *c = connections + i;
        c->due = c->sent = c->answered = 0;
        if (rate && kind != 'c') c->left = answer;
    }
    kind == 'u' ? run_datagrams(duration) : run_streams(duration);
}

/* At a fixed rate, a request outstanding at the start would be mistaken for a later one. */
static void warm_up_first(void) {
    if (warm_up) run(warm_up);
    if (rate && kind != 'u' && lost) fail("does not keep up with %.0f a second", rate);
}

static void wait_for_a_line(void) {
    fflush(stdout);
    for (char octet; read(0, &octet, 1) == 1 && octet != '\n';) {}
}

static void parse(int argc, char **argv) {
    for (int option; (option = getopt(argc, argv, "p:n:s:q:a:g:r:m:t:w:e:")) != -1;) {
        if (option == 'p') port = atoi(optarg);
        else if (option == 'n') number = atoi(optarg);
        else if (option == 's') size = atoi(optarg);
        else if (option == 'a') answer = atoi(optarg);
        else if (option == 'g') greeting = atoi(optarg);
        else if (option == 'e') target_port = atoi(optarg);
        else if (option == 'r') rate = atof(optarg);
        else if (option == 'm') sources = atoi(optarg);
        else if (option == 't') seconds = atof(optarg);
        else if (option == 'w') warm_up = atof(optarg);
        else if (option == 'q') {
            size = 0;
            for (const char *text = optarg; *text && size < (int)sizeof out; text++) out[size++] = *text == '\\' && text[1] == 'n' ? text++, '\n' : *text;
        } else exit(64);
    }
    if (optind != argc - 1 || !port || !strchr("tcbsui", argv[optind][0]) || size < 1 || size > (int)sizeof out || number < 1) {
        fprintf(stderr, "usage: load tcp|connect|bulk|sink|udp|idle -p PORT [options]; they stand in load.c\n");
        exit(64);
    }
    kind = argv[optind][0];
    if (!answer) answer = size;
}

int main(int argc, char **argv) {
    memset(out, 'x', sizeof out);
    parse(argc, argv);
    ep = epoll_create1(0);
    if (target_port && kind != 'u') open_target();
    if (kind == 'u') open_datagrams();
    else connections = calloc(number, sizeof *connections);
    if (kind != 'u' && kind != 'i' && !(kind == 'c' && rate)) open_all();
    if (kind != 'i') warm_up_first();
    puts("ready");
    wait_for_a_line();
    if (kind == 'i') start = now(), open_all(), answers = number;
    else run(seconds);
    double took = rate ? seconds : (now() - start) / 1e9;
    if (!answers && !bytes) fail("no answer");
    printf("{\"seconds\": %.6f, \"answers\": %llu, \"bytes\": %llu, \"lost\": %llu, ", took, (unsigned long long)answers,
           (unsigned long long)bytes, (unsigned long long)lost);
    printf("\"p50\": %.3f, \"p90\": %.3f, \"p99\": %.3f, \"p999\": %.3f, \"most\": %.3f}\n", percentile(.5), percentile(.9),
           percentile(.99), percentile(.999), percentile(1));
    wait_for_a_line();
}
