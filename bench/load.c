/* The load: as many requests as a server answers, or a fixed rate, from one thread that has a core and never sleeps, so
 * that the server is the bottleneck.
 *
 *     load KIND -p PORT [-n NUMBER] [-s SIZE] [-q REQUEST] [-a ANSWER] [-g GREETING] [-r RATE] [-m SOURCES]
 *               [-t SECONDS] [-w WARM_UP]
 *
 * tcp      NUMBER connections, one request at a time on each; with RATE, that many a second spread over them
 * connect  NUMBER at a time: connect, send a request, receive the answer, close, see the server close
 * bulk     NUMBER connections, writes of SIZE octets as fast as possible on each; all answers are read
 * sink     NUMBER connections on which only the server sends
 * udp      NUMBER outstanding requests, from SOURCES addresses in turn; with RATE, that many a second.
 *          A request without an answer after 0.2 s is lost.
 * idle     NUMBER connections, one request and its answer on each; then nothing
 *
 * A request is SIZE octets or the text REQUEST (\n for a line end); its answer has ANSWER octets, by default as many.
 * A server that sends first sends GREETING octets.
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

enum stage { CONNECTING, GREETING, PROVING, OPEN, ENDING };

struct connection {
    int fd, left; /* octets of the answer still to come */
    enum stage stage;
    uint64_t began;
    uint64_t due, sent, answered; /* at a fixed rate: requests, in order */
};

static char kind, out[65536], in[1 << 20];
static int ep, number = 1, size = 64, answer, greeting, sources = 1, port, proven;
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
        answered(c->began, now());
        open_one(c);
    } else if (got == 0) fail("the server closed a connection");
    else if (errno != EAGAIN) fail("recv: %m");
}

static void turn(int milliseconds) {
    struct epoll_event events[256];
    int n = epoll_wait(ep, events, 256, milliseconds);
    for (int i = 0; i < n; i++) happened(connections + events[i].data.u32, events[i].events);
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

static void run_streams(double duration) {
    uint64_t due = 0, end = now() + duration * SECOND, clock;
    while ((clock = now()) < end || silent(clock, end)) {
        for (; rate && intended(due) <= clock; due++) {
            struct connection *c = connections + due % number;
            c->due++;
            catch_up(c);
        }
        turn(0);
    }
    if (!rate) return;
    for (end += GRACE; answers < due && now() < end;) turn(0);
    lost = due - answers;
}

/* --- datagrams --- */

struct stamp {
    uint64_t began;
    uint32_t slot;
};

static int udp;
static uint64_t *sent_at;    /* when the request of each slot was sent; 0: the slot is free */
static uint32_t *free_slots;
static int free_number;

struct batch {
    struct mmsghdr messages[BATCH];
    struct iovec parts[BATCH];
    char data[BATCH][2048];
    char control[BATCH][CMSG_SPACE(sizeof(struct in_pktinfo))];
};

static struct batch going, coming;
static struct sockaddr_in target;

static void prepare(struct batch *b, int length) {
    for (int i = 0; i < BATCH; i++) {
        b->parts[i] = (struct iovec){b->data[i], length};
        b->messages[i].msg_hdr = (struct msghdr){.msg_iov = &b->parts[i], .msg_iovlen = 1};
        memset(b->data[i], 'x', length);
    }
}

static void open_datagrams(void) {
    int room = 8 << 20;
    if (size < (int)sizeof(struct stamp) || size > 2048) fail("a datagram has from 12 to 2048 octets");
    udp = socket(AF_INET, SOCK_DGRAM, 0);
    if (setsockopt(udp, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room)) setsockopt(udp, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    target = loopback(INADDR_LOOPBACK, port);
    prepare(&going, size);
    prepare(&coming, 2048);
    if (sources == 1 && connect(udp, (struct sockaddr *)&target, sizeof target) < 0) fail("connect: %m");
    sent_at = calloc(number, sizeof *sent_at);
    free_slots = calloc(number, sizeof *free_slots);
    for (; free_number < number; free_number++) free_slots[free_number] = number - 1 - free_number;
}

/* One socket has many source addresses: IP_PKTINFO (ip(7)) sets that of each datagram. It receives all answers. */
static void from_another_source(int i) {
    struct msghdr *header = &going.messages[i].msg_hdr;
    header->msg_name = &target;
    header->msg_namelen = sizeof target;
    header->msg_control = going.control[i];
    header->msg_controllen = sizeof going.control[i];
    struct cmsghdr *control = CMSG_FIRSTHDR(header);
    control->cmsg_level = IPPROTO_IP;
    control->cmsg_type = IP_PKTINFO;
    control->cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
    struct in_pktinfo info = {.ipi_spec_dst.s_addr = htonl(0x7f010000 + 1 + opened++ % sources)};
    memcpy(CMSG_DATA(control), &info, sizeof info);
}

static void send_batch(int n) {
    for (int i = 0; sources > 1 && i < n; i++) from_another_source(i);
    for (int done = 0; done < n;) {
        int sent = sendmmsg(udp, going.messages + done, n - done, 0);
        if (sent > 0) done += sent;
        else if (errno == ECONNREFUSED) fail("connection refused: the server has stopped");
        else if (errno != EAGAIN && errno != ENOBUFS) fail("send: %m");
    }
}

static void receive_batch(void) {
    int n = recvmmsg(udp, coming.messages, BATCH, MSG_DONTWAIT, NULL);
    if (n < 0 && errno != EAGAIN) fail(errno == ECONNREFUSED ? "connection refused: the server has stopped" : "recv: %m");
    uint64_t when = now();
    for (int i = 0; i < n; i++) {
        struct stamp stamp;
        memcpy(&stamp, coming.data[i], sizeof stamp);
        if ((int)coming.messages[i].msg_len != answer) continue;
        if (rate) {
            answered(stamp.began, when);
        } else if (stamp.slot < (uint32_t)number && sent_at[stamp.slot] == stamp.began) {
            sent_at[stamp.slot] = 0;
            free_slots[free_number++] = stamp.slot;
            answered(stamp.began, when);
        }
    }
}

static void expire_lost(uint64_t clock) {
    for (int slot = 0; slot < number; slot++) {
        if (!sent_at[slot] || clock - sent_at[slot] < LOST) continue;
        lost += sent_at[slot] >= start;
        sent_at[slot] = 0;
        free_slots[free_number++] = slot;
    }
}

static void run_datagrams(double duration) {
    uint64_t due = 0, end = now() + duration * SECOND, look = 0, clock;
    while ((clock = now()) < end || silent(clock, end)) {
        int n = 0;
        for (; n < BATCH && (rate ? intended(due) <= clock : free_number > 0); n++, due++) {
            struct stamp stamp = {rate ? intended(due) : clock, rate ? 0 : free_slots[--free_number]};
            if (!rate) sent_at[stamp.slot] = clock;
            memcpy(going.data[n], &stamp, sizeof stamp);
        }
        if (n) send_batch(n);
        receive_batch();
        if (!rate && clock > look) expire_lost(clock), look = clock + LOST / 20;
    }
    if (!rate) return;
    for (end += GRACE; answers < due && now() < end;) receive_batch();
    lost = due - answers;
}

/* --- both --- */

static void run(double duration) {
    start = now();
    answers = bytes = lost = 0;
    memset(histogram, 0, sizeof histogram);
    for (int i = 0; connections && i < number; i++) {
        struct connection *c = connections + i;
        c->due = c->sent = c->answered = 0;
        if (rate) c->left = answer;
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
    for (int option; (option = getopt(argc, argv, "p:n:s:q:a:g:r:m:t:w:")) != -1;) {
        if (option == 'p') port = atoi(optarg);
        else if (option == 'n') number = atoi(optarg);
        else if (option == 's') size = atoi(optarg);
        else if (option == 'a') answer = atoi(optarg);
        else if (option == 'g') greeting = atoi(optarg);
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
    if (kind == 'u') open_datagrams();
    else connections = calloc(number, sizeof *connections);
    if (kind != 'u' && kind != 'i') open_all();
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
