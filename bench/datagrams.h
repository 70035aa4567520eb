/* The datagrams of the load; a part of load.c, whose options and counts it uses. */

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

static struct batch going, coming, passing;
static struct sockaddr_in target, askers[BATCH];

static void prepare(struct batch *b, int length) {
    for (int i = 0; i < BATCH; i++) {
        b->parts[i] = (struct iovec){b->data[i], length};
        b->messages[i].msg_hdr = (struct msghdr){.msg_iov = &b->parts[i], .msg_iovlen = 1};
        memset(b->data[i], 'x', length);
    }
}

static int open_socket(void) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0), room = 8 << 20;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room)) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    return fd;
}

/* The target of a server that forwards: what has come to it goes back. */
static void open_target_of_datagrams(void) {
    struct sockaddr_in at = loopback(INADDR_LOOPBACK, target_port);
    int one = 1;
    listener = open_socket();
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) < 0) fail("target: %m");
    prepare(&passing, 2048);
    for (int i = 0; i < BATCH; i++) passing.messages[i].msg_hdr.msg_name = askers + i;
}

static void echo_datagrams(void) {
    for (int i = 0; i < BATCH; i++) {
        passing.messages[i].msg_hdr.msg_namelen = sizeof *askers;
        passing.parts[i].iov_len = 2048;
    }
    int n = recvmmsg(listener, passing.messages, BATCH, MSG_DONTWAIT, NULL);
    for (int i = 0; i < n; i++) passing.parts[i].iov_len = passing.messages[i].msg_len;
    for (int done = 0; done < n;) {
        int sent = sendmmsg(listener, passing.messages + done, n - done, 0);
        done += sent > 0 ? sent : 1;
    }
}

static void open_datagrams(void) {
    if (size < (int)sizeof(struct stamp) || size > 2048) fail("a datagram has from 12 to 2048 octets");
    udp = open_socket();
    target = loopback(INADDR_LOOPBACK, port);
    prepare(&going, size);
    prepare(&coming, 2048);
    if (sources == 1 && connect(udp, (struct sockaddr *)&target, sizeof target) < 0) fail("connect: %m");
    if (target_port) open_target_of_datagrams();
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
    if (target_port) echo_datagrams();
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
    uint64_t due = 0, end = start + duration * SECOND, look = 0, clock;
    while (goes_on(clock = now(), end, due)) {
        int n = 0;
        for (; n < BATCH && (rate ? is_due(due, clock, end) : free_number > 0); n++, due++) {
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
