/* The floor: what receiving costs at the least. One epoll loop over plain sockets: finds the token of each message,
 * counts it, and notes how late it is. It knows no more of WebSocket than whole, unmasked frames from the server.
 *
 *     floor PORT CLIENTS [socketio]   connects, subscribes to `news`; SIGTERM: prints {"deliveries", "p50_ms", "p99_ms"}
 *
 * CONNECT_S in the environment spreads the connecting over so many seconds.
 * Of Socket.IO it knows as much: how to connect to the namespace `/`, and how to ask for a room.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 4096, SUB_BITS = 5, BUCKETS = 64 << SUB_BITS, INTENDED_AT = 19, INTENDED_DIGITS = 16 };

struct client {
    int fd;
    size_t used;
    unsigned char buffer[BUFFER];
};

static volatile sig_atomic_t ending;
static uint64_t histogram[BUCKETS], deliveries;

static void end(int signum) {
    (void)signum;
    ending = 1;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

/* Log-linear: 32 buckets for each power of two, so that a value is known to 3 %. */
static unsigned bucket_of(uint64_t ns) {
    if (ns < (1 << SUB_BITS)) return (unsigned)ns;
    unsigned power = 63 - (unsigned)__builtin_clzll(ns);
    return ((power - SUB_BITS + 1) << SUB_BITS) + (unsigned)((ns >> (power - SUB_BITS)) & ((1 << SUB_BITS) - 1));
}

static double middle_ms(unsigned bucket) {
    if (bucket < (1 << SUB_BITS)) return bucket / 1e6;
    unsigned power = (bucket >> SUB_BITS) + SUB_BITS - 1, part = bucket & ((1 << SUB_BITS) - 1);
    return ((double)((1ULL << power) + ((uint64_t)part << (power - SUB_BITS))) + 0.5 * (double)(1ULL << (power - SUB_BITS))) / 1e6;
}

static double percentile_ms(double share) {
    uint64_t rank = (uint64_t)(share * (double)deliveries), seen = 0;
    for (unsigned bucket = 0; bucket < BUCKETS; bucket++)
        if ((seen += histogram[bucket]) > rank) return middle_ms(bucket);
    return 0;
}

static void take(const unsigned char *payload, size_t length) {
    const unsigned char *token = memmem(payload, length, "fl1", 3);
    if (!token || (size_t)(payload + length - token) < INTENDED_AT + INTENDED_DIGITS) return;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t intended = 0;
    for (int digit = 0; digit < INTENDED_DIGITS; digit++) {
        unsigned char c = token[INTENDED_AT + digit];
        intended = intended << 4 | (c <= '9' ? c - '0' : c - 'a' + 10);
    }
    int64_t late = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec - intended;
    histogram[bucket_of(late > 0 ? (uint64_t)late : 0)]++;
    deliveries++;
}

static void receive(struct client *one) {
    ssize_t got = recv(one->fd, one->buffer + one->used, BUFFER - one->used, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        close(one->fd);
        one->fd = -1;
        return;
    }
    one->used += (size_t)got;
    size_t at = 0;
    while (one->used - at >= 2) {
        size_t length = one->buffer[at + 1] & 0x7f, head = 2;
        if (length == 126) {
            if (one->used - at < 4) break;
            length = (size_t)one->buffer[at + 2] << 8 | one->buffer[at + 3];
            head = 4;
        }
        if (one->used - at < head + length) break;
        take(one->buffer + at + head, length);
        at += head + length;
    }
    memmove(one->buffer, one->buffer + at, one->used - at);
    one->used -= at;
}

static void say(int fd, const char *text) {
    unsigned char frame[128] = {0x81, (unsigned char)(0x80 | strlen(text))}; /* a mask of zeros is a mask */
    memcpy(frame + 6, text, strlen(text));
    if (send(fd, frame, 6 + strlen(text), 0) < 0) fail("send");
}

/* Reads frames until one begins so; all are short here. */
static void await(int fd, const char *beginning) {
    unsigned char head[2], payload[65536];
    do {
        if (recv(fd, head, 2, MSG_WAITALL) != 2) fail("frame");
        size_t length = head[1] & 0x7f;
        if (length == 126) {
            if (recv(fd, head, 2, MSG_WAITALL) != 2) fail("frame");
            length = (size_t)head[0] << 8 | head[1];
        }
        if (recv(fd, payload, length, MSG_WAITALL) != (ssize_t)length) fail("frame");
    } while (memcmp(payload, beginning, strlen(beginning)) != 0);
}

static int connected(int port, int socketio) {
    char handshake[512];
    int size = snprintf(handshake, sizeof handshake,
        "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        socketio ? "/socket.io/?EIO=4&transport=websocket" : "/ws");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) fail("connect");
    if (send(fd, handshake, (size_t)size, 0) < 0) fail("send");
    char last[4] = {0}, byte;
    while (memcmp(last, "\r\n\r\n", 4) != 0) {
        if (recv(fd, &byte, 1, 0) != 1) fail("handshake");
        memmove(last, last + 1, 3);
        last[3] = byte;
    }
    if (socketio) {
        say(fd, "40");
        await(fd, "40");
        say(fd, "42[\"subscribe\",\"news\"]");
    } else {
        say(fd, "{\"type\":\"subscribe\",\"channels\":[\"news\"]}");
    }
    return fd;
}

int main(int count, char **words) {
    if (count != 3 && count != 4) return 2;
    int port = atoi(words[1]), clients = atoi(words[2]), poll = epoll_create1(0);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    signal(SIGTERM, end);
    struct client *all = calloc((size_t)clients, sizeof *all);
    const char *within_s = getenv("CONNECT_S");
    const long long between_ns = within_s ? (long long)(atof(within_s) * 1e9) / clients : 0;
    const struct timespec between = {between_ns / 1000000000, between_ns % 1000000000};
    for (int index = 0; index < clients; index++) {
        nanosleep(&between, NULL);
        all[index].fd = connected(port, count == 4);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &all[index]};
        epoll_ctl(poll, EPOLL_CTL_ADD, all[index].fd, &event);
    }
    fprintf(stderr, "ready\n");
    struct epoll_event events[256];
    while (!ending) {
        int ready = epoll_wait(poll, events, 256, 1000);
        for (int index = 0; index < ready; index++) receive(events[index].data.ptr);
    }
    printf("{\"deliveries\": %llu, \"p50_ms\": %.4f, \"p99_ms\": %.4f}\n", (unsigned long long)deliveries,
           percentile_ms(0.50), percentile_ms(0.99));
    return 0;
}
