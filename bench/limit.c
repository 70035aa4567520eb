/* The limit: the least work of a server. A bare epoll loop for streams, a bare recvfrom/sendto loop for datagrams, and
 * a bare loop of accept and posix_spawn for programs.
 *
 *     limit tcp|udp|chargen|programs PORT          serves on 127.0.0.1 until it is killed
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PERIOD 7030 /* octets after which the pattern of chargen (RFC 864) repeats */
#define PAGE (16 * PERIOD)

static char buffer[65536], page[PAGE];

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void echo(int fd) {
    ssize_t got = recv(fd, buffer, sizeof buffer, 0);
    if (got <= 0) {
        close(fd);
        return;
    }
    for (ssize_t at = 0; at < got;) { /* not fair: other connections wait for a slow reader */
        ssize_t sent = send(fd, buffer + at, got - at, MSG_NOSIGNAL);
        if (sent > 0) at += sent;
        else if (errno == EAGAIN) usleep(10);
        else break;
    }
}

static void generate(int fd) {
    static int position[1 << 20]; /* of each connection in the pattern */
    ssize_t sent = send(fd, page + position[fd], PAGE - position[fd], MSG_NOSIGNAL);
    if (sent > 0) position[fd] = (position[fd] + sent) % PERIOD;
    else if (errno != EAGAIN) {
        position[fd] = 0;
        close(fd);
    }
}

/* One turn of the echo loop, without the wait; for bench/turn.py, which loads this file as a library. */
int echo_turn(int ep) {
    struct epoll_event events[256];
    int n = epoll_wait(ep, events, 256, 0);
    for (int i = 0; i < n; i++) echo(events[i].data.fd);
    return n;
}

static void serve_streams(int listener, void (*serve)(int), int awaited) {
    int ep = epoll_create1(0), one = 1;
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = listener}, events[256];
    if (listen(listener, 4096) < 0) die("listen");
    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &ev);
    ev.events = awaited;
    for (;;) {
        int n = epoll_wait(ep, events, 256, -1);
        for (int i = 0; i < n; i++) {
            int peer;
            if (events[i].data.fd != listener) {
                serve(events[i].data.fd);
                continue;
            }
            while ((peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
                setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                ev.data.fd = peer;
                epoll_ctl(ep, EPOLL_CTL_ADD, peer, &ev);
            }
        }
    }
}

static void serve_datagrams(int fd) {
    struct sockaddr_storage peer;
    for (;;) {
        socklen_t length = sizeof peer;
        ssize_t got = recvfrom(fd, buffer, sizeof buffer, 0, (struct sockaddr *)&peer, &length);
        if (got >= 0) sendto(fd, buffer, got, 0, (struct sockaddr *)&peer, length);
    }
}

/* cat(1) for each connection. Programs that have ended are reaped after the next start. */
static void serve_programs(int listener) {
    char *cat[] = {"cat", NULL};
    if (listen(listener, 4096) < 0) die("listen");
    for (;;) {
        int peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        posix_spawn_file_actions_t actions;
        if (peer < 0) die("accept");
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, peer, 0);
        posix_spawn_file_actions_adddup2(&actions, peer, 1);
        posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
        if (posix_spawn(&(pid_t){0}, "/bin/cat", &actions, NULL, cat, environ)) die("posix_spawn");
        posix_spawn_file_actions_destroy(&actions);
        close(peer);
        while (waitpid(-1, NULL, WNOHANG) > 0) {}
    }
}

int main(int argc, char **argv) {
    if (argc != 3) return fprintf(stderr, "usage: limit tcp|udp|chargen|programs PORT\n"), 64;
    int udp = !strcmp(argv[1], "udp"), programs = !strcmp(argv[1], "programs"), one = 1;
    int fd = socket(AF_INET, (udp ? SOCK_DGRAM : SOCK_STREAM) | (udp || programs ? 0 : SOCK_NONBLOCK) | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0) die("bind");
    for (int i = 0; i < PAGE; i++) { /* lines of 72 of the 95 characters and CRLF, each shifted by one character */
        int line = i / 74, column = i % 74;
        page[i] = column == 72 ? '\r' : column == 73 ? '\n' : 0x20 + (line + column + 1) % 95;
    }
    if (udp) serve_datagrams(fd);
    else if (programs) serve_programs(fd);
    else if (!strcmp(argv[1], "chargen")) serve_streams(fd, generate, EPOLLOUT);
    else serve_streams(fd, echo, EPOLLIN);
}
