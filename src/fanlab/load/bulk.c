/* The hot path of receiving, compiled: what load/stamped.py and load/clientlink.py do for a read that is known whole.
 *
 * Asks one epoll who is ready and reads from each of them. A read that began between two frames and is, byte for byte,
 * a whole frame that was taken apart before, or several such, becomes as many records of the journal here. Whatever
 * else comes is handed to the caller, who takes it apart, may teach it to us, and calls again for the next one.
 *
 * Plain C without Python's headers: fanlab/load/bulk.py calls it through ctypes, and has the same structures.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "journals are little-endian"
#endif

enum { AT_ONCE = 1024, ONE_BY_ONE = 8, KNOWN = 256, KNOWN_BYTES = 4096, FRAMES = 256 /* in a read */ };

/* What the caller has to see to; bulk.py has the same. */
enum { DONE, EVENTS, READ, FULL };

/* A delivery as ledger/records.py packs it. */
struct record {
    uint64_t recv_ns, intended_ns;
    uint32_t seq, client;
    uint16_t stream, node;
    uint32_t sent_lag_us;
};
_Static_assert(sizeof(struct record) == 32, "as in ledger/records.py");

/* One socket, at the place of its descriptor. Times are of the run's clock, as in fanlab/clock.py. */
struct line {
    uint64_t arrived_ns; /* no later message has this time or an earlier one */
    uint64_t taken;      /* messages that were taken here */
    int64_t read_ns;     /* the look in which it was read last, … */
    uint32_t reads;      /* … and how often in that */
    uint32_t length;     /* of the last frame that was taken here */
    uint32_t client;
    uint16_t node;
    uint8_t watched; /* its whole reads may be taken here */
    uint8_t between; /* all that came were whole frames */
};

struct known {
    uint64_t intended_ns;
    uint32_t seq, sent_lag_us, length;
    uint16_t stream;
    unsigned char bytes[KNOWN_BYTES];
};

struct bulk {
    /* The caller's, all the time. */
    struct line *lines;
    unsigned char *into, *records;
    int64_t realtime_ahead_ns;  /* CLOCK_REALTIME − the run's clock */
    int64_t monotonic_ahead_ns; /* CLOCK_MONOTONIC − the run's clock: of another boot's run */
    int64_t calm_ns;   /* messages stream in while less has passed since the last one */
    int64_t steady_ns; /* a look may wait when the stream is as old */
    int64_t pause_ns;  /* how long it waits then */
    int64_t hurry_ns;  /* for how long it does not, once two had come together meanwhile */
    uint32_t line_count, into_bytes, records_used, records_end; /* records in bytes */
    int32_t epoll;
    /* What the caller has to see to. */
    int32_t fd, error;
    uint32_t events, size;
    uint64_t at_ns;
    uint64_t pauses; /* how often it has waited */
    /* Ours. */
    int32_t found, next, rounds, asked, pass, again, paused; /* in this look */
    uint32_t newest;
    int64_t look_ns, here_ns, last_taken_ns, since_ns; /* … when the stream began */
    int64_t patient_ns;                       /* when it is allowed to pause again */
    struct known known[KNOWN];
    struct epoll_event ready[AT_ONCE];
};

#ifndef SOURCE_CRC
#define SOURCE_CRC 0
#endif

/* Of this very file: a library that was made of another one is not used. */
uint32_t fanlab_bulk_source(void) { return SOURCE_CRC; }

size_t fanlab_bulk_bytes(void) { return sizeof(struct bulk); }

/* Keep the bytes of a whole frame with one message; the oldest that was kept goes. */
void fanlab_bulk_learn(struct bulk *bulk, const unsigned char *bytes, uint32_t length, uint64_t intended_ns,
                       uint32_t seq, uint32_t stream, uint32_t sent_lag_us) {
    if (length > KNOWN_BYTES) return;
    bulk->newest = (bulk->newest + 1) % KNOWN;
    struct known *one = &bulk->known[bulk->newest];
    one->intended_ns = intended_ns;
    one->seq = seq;
    one->sent_lag_us = sent_lag_us;
    one->stream = (uint16_t)stream;
    one->length = length;
    memcpy(one->bytes, bytes, length);
}

/* The known frame that these bytes begin with. No two can: a frame's own head says where it ends. */
static const struct known *lookup(const struct bulk *bulk, const unsigned char *bytes, size_t size) {
    for (uint32_t back = 0; back < KNOWN; back++) { /* the newest first: it goes to many in a row */
        const struct known *one = &bulk->known[(bulk->newest + KNOWN - back) % KNOWN];
        if (one->length && one->length <= size && memcmp(one->bytes, bytes, one->length) == 0) return one;
    }
    return NULL;
}

static int64_t now_ns(const struct bulk *bulk) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec - bulk->monotonic_ahead_ns;
}

/* When the kernel had received what was read, on the run's clock; now, where it does not say or says the future. */
static uint64_t arrived_ns(struct bulk *bulk, struct msghdr *message) {
    struct timespec stamp;
    int64_t here_ns = bulk->here_ns = now_ns(bulk);
    for (struct cmsghdr *each = CMSG_FIRSTHDR(message); each; each = CMSG_NXTHDR(message, each)) {
        if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_TIMESTAMPNS) continue;
        memcpy(&stamp, CMSG_DATA(each), sizeof stamp);
        int64_t at_ns = (int64_t)stamp.tv_sec * 1000000000 + stamp.tv_nsec - bulk->realtime_ahead_ns;
        if (at_ns > here_ns) at_ns = here_ns;
        return at_ns < 0 ? 0 : (uint64_t)at_ns; /* before the clock's zero, where somebody has set the other clock */
    }
    return here_ns < 0 ? 0 : (uint64_t)here_ns;
}

/* Read so many bytes more behind those that were read. */
static ssize_t receive(struct bulk *bulk, size_t most) {
    _Alignas(struct cmsghdr) char ancillary[CMSG_SPACE(sizeof(struct timespec))];
    struct iovec part = {bulk->into + bulk->size, most};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = ancillary, .msg_controllen = sizeof ancillary};
    ssize_t size = recvmsg(bulk->fd, &message, 0);
    if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return -1;
    if (size < 0) bulk->error = errno;
    if (size > 0) bulk->size += (uint32_t)size;
    if (size > 0 || !bulk->at_ns) bulk->at_ns = arrived_ns(bulk, &message);
    return size < 0 ? 0 : size;
}

/* How many frames that are known are all that was read; 0 where they are not. */
static int whole(const struct bulk *bulk, const struct known **frames) {
    int count = 0;
    for (size_t at = 0; at < bulk->size; at += frames[count++]->length) {
        if (count == FRAMES) return 0;
        frames[count] = lookup(bulk, bulk->into + at, bulk->size - at);
        if (!frames[count]) return 0;
    }
    return count;
}

/* How long the frame from a server is that begins with these bytes; 0 where too few of them are there.
 * https://www.rfc-editor.org/rfc/rfc6455#section-5.2 */
static uint64_t frame_bytes(const unsigned char *bytes, size_t size) {
    if (size < 2) return 0;
    unsigned length = bytes[1] & 0x7f, more = length < 126 ? 0 : length == 126 ? 2 : 8;
    if (size < 2 + more) return 0;
    if (!more) return 2 + length;
    uint64_t extended = 0;
    for (unsigned index = 0; index < more; index++) extended = extended << 8 | bytes[2 + index];
    return extended > UINT32_MAX ? UINT32_MAX : 2 + more + extended;
}

/* Read what was begun to its end: a frame, if it is one; else all that has come. Whether there was more. */
static int read_on(struct bulk *bulk) {
    uint64_t frame = frame_bytes(bulk->into, bulk->size), room = bulk->into_bytes - bulk->size;
    if (frame == bulk->size) return 0;
    return receive(bulk, frame > bulk->size && frame - bulk->size < room ? frame - bulk->size : room) > 0;
}

/* One read of a socket. DONE: nothing is left to do for it.
 *
 * A read has the time of the last packet in it. So it ends where the message probably does: the next one, if there is
 * one, is another packet as long as the kernel has not joined them, and has a time of its own. It is read when the
 * socket's turn comes again in this look; after ONE_BY_ONE of them all that has come is read at once, so that a look
 * leaves nothing that was there when it began: a heartbeat says that. */
static int take(struct bulk *bulk, struct line *line) {
    const struct known *frames[FRAMES];
    if (line->read_ns != bulk->look_ns) line->read_ns = bulk->look_ns, line->reads = 0;
    uint32_t newest = bulk->known[bulk->newest].length;
    uint32_t probable = line->reads++ >= ONE_BY_ONE ? 0 : newest > line->length ? newest : line->length;
    if (probable > bulk->into_bytes) probable = 0;
    bulk->error = 0;
    bulk->size = 0;
    bulk->at_ns = 0;
    if (receive(bulk, probable ? probable : bulk->into_bytes) < 0) return DONE;
    if (!bulk->size) return READ;
    int count = whole(bulk, frames), filled = bulk->size == probable; /* there may be more */
    if (filled && (!bulk->pass || line->reads > 1)) bulk->again = 1; /* what begins to come meanwhile is the next look's */
    if (filled && !count && read_on(bulk)) count = whole(bulk, frames);
    if (!count) return READ;
    /* What had all come before the pause began was late for another reason, which goes by itself. */
    int together = count > 1 || bulk->at_ns < line->arrived_ns;
    if (together && bulk->paused && (int64_t)bulk->at_ns >= bulk->look_ns &&
        (int64_t)bulk->at_ns < bulk->look_ns + bulk->pause_ns)
        bulk->patient_ns = bulk->here_ns + bulk->hurry_ns;
    uint64_t at_ns = bulk->at_ns > line->arrived_ns ? bulk->at_ns : line->arrived_ns;
    for (int index = 0; index < count; index++) {
        const struct known *one = frames[index];
        struct record record = {at_ns++,      one->intended_ns, one->seq,        line->client,
                                one->stream, line->node,       one->sent_lag_us};
        memcpy(bulk->records + bulk->records_used, &record, sizeof record);
        bulk->records_used += sizeof record;
    }
    line->arrived_ns = at_ns;
    line->taken += (uint64_t)count;
    line->length = frames[count - 1]->length;
    if (bulk->here_ns - bulk->last_taken_ns >= bulk->calm_ns) bulk->since_ns = bulk->here_ns;
    bulk->last_taken_ns = bulk->here_ns;
    return DONE;
}

/* Go on until there is something for the caller to see to, or nothing more. So much of the records is used by now. */
int fanlab_bulk_next(struct bulk *bulk, uint32_t records_used) {
    bulk->records_used = records_used;
    for (;;) {
        if (bulk->next == bulk->found) {
            if (bulk->rounds <= 0 && bulk->again && bulk->pass < ONE_BY_ONE) {
                bulk->pass++;
                bulk->again = 0;
                bulk->rounds = bulk->asked;
            }
            if (bulk->rounds-- <= 0) return DONE;
            bulk->next = 0;
            bulk->found = epoll_wait(bulk->epoll, bulk->ready, AT_ONCE, 0);
            if (bulk->found <= 0) return bulk->found = 0, DONE;
            if (bulk->found < AT_ONCE) bulk->rounds = 0;
        }
        const struct epoll_event *event = &bulk->ready[bulk->next];
        bulk->fd = event->data.fd;
        bulk->events = event->events;
        struct line *line = (uint32_t)bulk->fd < bulk->line_count ? &bulk->lines[bulk->fd] : NULL;
        if (!line || !line->watched || !line->between || event->events != EPOLLIN) return bulk->next++, EVENTS;
        if (bulk->records_end - bulk->records_used < FRAMES * sizeof(struct record)) return FULL;
        bulk->next++;
        int left = take(bulk, line);
        if (left != DONE) return left;
    }
}

/* Begin to look at all that is ready, with as many questions of AT_ONCE events each, at most; and again with as many,
 * as long as there are some that had more to read. While messages stream in it waits a little first, as network drivers
 * do: whoever is woken for each would spend more on waking than on reading. A message's time is the kernel's, so that
 * this makes none late, unless the kernel joins packets: a client's messages that come meanwhile have the last one's
 * time then. So there is no waiting for a while after that was seen, nor when a burst comes out of the blue. */
int fanlab_bulk_look(struct bulk *bulk, uint32_t records_used, int32_t rounds) {
    int64_t here_ns = bulk->look_ns = now_ns(bulk);
    bulk->paused = here_ns - bulk->last_taken_ns < bulk->calm_ns &&
                   here_ns - bulk->since_ns >= bulk->steady_ns && here_ns >= bulk->patient_ns;
    if (bulk->paused) {
        const struct timespec pause = {.tv_nsec = bulk->pause_ns};
        nanosleep(&pause, NULL);
        bulk->pauses++;
    }
    bulk->rounds = bulk->asked = rounds;
    bulk->pass = bulk->again = 0;
    bulk->found = bulk->next = 0;
    return fanlab_bulk_next(bulk, records_used);
}
