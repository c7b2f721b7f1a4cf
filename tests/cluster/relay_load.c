/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* relay_load: many messages through two nodes of cp-node, each counted.
 *
 *   relay_load PORT PORT MESSAGES
 *
 * Every receiver is a user with a connection on both nodes. The senders, half
 * of them on either node, send numbered texts to the receivers in turn. As each
 * connection of a receiver knows the next number that it must get from each
 * sender, a message that is lost, doubled or out of order is seen at once. A
 * last round behind all others brings to light what was doubled late.
 *
 * No sender is further ahead of its receivers than WINDOW messages, so no queue
 * between them can fill up: what is missing was lost, not dropped. Exit 0 if
 * nothing was wrong, 1 if something was, 2 if it could not be tried. */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define N_NODES     2
#define N_SENDERS   8
#define N_RECEIVERS 16
#define N_CONNS     (N_SENDERS + N_RECEIVERS * N_NODES)
#define WINDOW      1024  /* messages a sender is ahead */
#define STALL_MS    30000 /* nothing arrives for so long: it is lost */
#define BUF_SIZE    (1 << 18)
#define MAX_FRAME   64 /* of what is sent and received here */
#define MAX_PONG    131

typedef struct conn {
  int fd;
  int sender; /* its number; -1 for a receiver's connection */
  char *in;
  size_t in_len;
  char *out;
  size_t out_start;
  size_t out_len;
  uint64_t next[N_SENDERS]; /* of a receiver: what must come from each */
} conn;

typedef struct load {
  conn conns[N_CONNS];
  int epoll;
  uint64_t quota[N_SENDERS];     /* messages that it has to send, all in all */
  uint64_t sent[N_SENDERS];      /* of these */
  uint64_t delivered[N_SENDERS]; /* counted at every connection */
  uint64_t expected;             /* deliveries, all in all */
  uint64_t n_delivered;
  uint64_t n_lost;
  uint64_t n_unordered; /* doubled, or behind one that was sent later */
} load;

static void die(const char *what) {
  fprintf(stderr, "relay_load: %s: %s\n", what, strerror(errno));
  exit(2);
}

static uint64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Frames. ----------------------------------------------------------------- */

/* A client masks. A key of zero leaves the payload as it is. */
static void append_frame(conn *c, int opcode, const char *payload, size_t len) {
  char *frame = c->out + c->out_start + c->out_len;

  frame[0] = (char)(0x80 | opcode);
  frame[1] = (char)(0x80 | len);
  memset(frame + 2, 0, 4);
  memcpy(frame + 6, payload, len);
  c->out_len += 6 + len;
}

static bool has_room(conn *c) {
  if (c->out_start > BUF_SIZE / 2) {
    memmove(c->out, c->out + c->out_start, c->out_len);
    c->out_start = 0;
  }
  return c->out_start + c->out_len + MAX_FRAME + MAX_PONG <= BUF_SIZE;
}

static void flush(conn *c) {
  ssize_t n;

  while (c->out_len > 0) {
    n = write(c->fd, c->out + c->out_start, c->out_len);
    if (n < 0 && errno == EAGAIN)
      return;
    if (n < 0)
      die("write");
    c->out_start += (size_t)n;
    c->out_len -= (size_t)n;
  }
  c->out_start = 0;
}

/* Sending. ---------------------------------------------------------------- */

static bool may_send(const load *l, int s) {
  return l->sent[s] < l->quota[s] &&
         l->sent[s] * N_NODES - l->delivered[s] < WINDOW * N_NODES;
}

/* "RECEIVER SENDER NUMBER"; the numbers count per pair. */
static void send_next(load *l, int s) {
  uint64_t n = l->sent[s]++;
  char text[MAX_FRAME - 6];
  int len =
      snprintf(text, sizeof text, "r%u %d %llu", (unsigned)(n % N_RECEIVERS), s,
               (unsigned long long)(n / N_RECEIVERS));

  append_frame(&l->conns[s], 1, text, (size_t)len);
}

static void pump(load *l, int s) {
  conn *c = &l->conns[s];

  while (may_send(l, s) && has_room(c))
    send_next(l, s);
  flush(c);
}

/* Receiving. -------------------------------------------------------------- */

static void on_text(load *l, conn *c, const char *payload, size_t len) {
  char text[MAX_FRAME];
  unsigned long long number;
  int s;

  snprintf(text, sizeof text, "%.*s", (int)len, payload);
  if (c->sender >= 0 || sscanf(text, "%d %llu", &s, &number) != 2 || s < 0 ||
      s >= N_SENDERS) {
    fprintf(stderr, "relay_load: unexpected message: %s\n", text);
    exit(1);
  }
  if (number < c->next[s]) {
    l->n_unordered++;
    return;
  }
  l->n_lost += number - c->next[s];
  l->delivered[s] += number - c->next[s] + 1;
  l->n_delivered++;
  c->next[s] = number + 1;
}

static void on_frame(load *l, conn *c, int opcode, const char *payload,
                     size_t len) {
  if (opcode == 1) {
    on_text(l, c, payload, len);
  } else if (opcode == 9) {
    append_frame(c, 10, payload, len);
    flush(c);
  } else if (opcode == 8) {
    fprintf(stderr, "relay_load: a node closed a connection\n");
    exit(1);
  }
}

/* The length of the frame at the start of `data`; 0 if it is not all there. */
static size_t whole_frame(const char *data, size_t len) {
  size_t n;

  if (len < 2)
    return 0;
  n = (unsigned char)data[1];
  if (n > 125) {
    fprintf(stderr, "relay_load: a frame longer than any that was sent\n");
    exit(1);
  }
  return len >= n + 2 ? n + 2 : 0;
}

static void parse(load *l, conn *c) {
  size_t at = 0;
  size_t n;

  while ((n = whole_frame(c->in + at, c->in_len - at)) > 0) {
    on_frame(l, c, c->in[at] & 0x0f, c->in + at + 2, n - 2);
    at += n;
  }
  memmove(c->in, c->in + at, c->in_len - at);
  c->in_len -= at;
}

/* Edge-triggered: until there is nothing more. */
static void on_readable(load *l, conn *c) {
  ssize_t n;

  while ((n = read(c->fd, c->in + c->in_len, BUF_SIZE - c->in_len)) > 0) {
    c->in_len += (size_t)n;
    parse(l, c);
  }
  if (n < 0 && errno == EAGAIN)
    return;
  fprintf(stderr, "relay_load: a node ended a connection\n");
  exit(1);
}

/* Connecting, still blocking. --------------------------------------------- */

static int dial(int port) {
  struct sockaddr_in addr = {0};
  int fd = socket(AF_INET, SOCK_STREAM, 0);

  addr.sin_family = AF_INET;
  addr.sin_port = htons((uint16_t)port);
  addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof addr) != 0)
    die("connect");
  return fd;
}

/* Reads byte by byte, so that no frame behind the response is taken. */
static void expect_101(int fd) {
  char head[1024];
  size_t len = 0;

  while (len < 4 || memcmp(head + len - 4, "\r\n\r\n", 4) != 0) {
    if (len == sizeof head || read(fd, head + len, 1) != 1)
      die("handshake");
    len++;
  }
  if (memcmp(head, "HTTP/1.1 101", 12) != 0) {
    fprintf(stderr, "relay_load: refused: %.*s\n", (int)len, head);
    exit(2);
  }
}

static void upgrade(int fd, const char *user) {
  char request[512];
  int len = snprintf(request, sizeof request,
                     "GET /ws?user=%s HTTP/1.1\r\nHost: localhost\r\n"
                     "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
                     "Sec-WebSocket-Version: 13\r\n\r\n",
                     user);

  if (write(fd, request, (size_t)len) != len)
    die("write");
  expect_101(fd);
}

static void open_conn(load *l, int i, int port, const char *user, int sender) {
  struct epoll_event event = {0};
  conn *c = &l->conns[i];

  c->fd = dial(port);
  c->sender = sender;
  c->in = malloc(BUF_SIZE);
  c->out = malloc(BUF_SIZE);
  if (c->in == NULL || c->out == NULL)
    die("malloc");
  upgrade(c->fd, user);
  fcntl(c->fd, F_SETFL, O_NONBLOCK);
  event.events = EPOLLIN | EPOLLOUT | EPOLLET;
  event.data.ptr = c;
  if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &event) != 0)
    die("epoll_ctl");
}

static void open_all(load *l, const int *ports) {
  char user[16];
  int i;

  for (i = 0; i < N_SENDERS; i++) {
    snprintf(user, sizeof user, "s%d", i);
    open_conn(l, i, ports[i % N_NODES], user, i);
  }
  for (i = 0; i < N_RECEIVERS * N_NODES; i++) {
    snprintf(user, sizeof user, "r%d", i / N_NODES);
    open_conn(l, N_SENDERS + i, ports[i % N_NODES], user, -1);
  }
}

/* The run. ---------------------------------------------------------------- */

/* Handle what is there; false if no message was. */
static bool turn(load *l) {
  struct epoll_event events[N_CONNS];
  int n = epoll_wait(l->epoll, events, N_CONNS, 1000);
  uint64_t before = l->n_delivered + l->n_unordered;
  int i;

  for (i = 0; i < n; i++) {
    conn *c = events[i].data.ptr;
    if (events[i].events & EPOLLIN)
      on_readable(l, c);
    flush(c);
  }
  return l->n_delivered + l->n_unordered > before;
}

/* Until everything that was sent is accounted for. */
static void run(load *l) {
  uint64_t last = now_ms();
  int s;

  while (l->n_delivered + l->n_lost < l->expected) {
    for (s = 0; s < N_SENDERS; s++)
      pump(l, s);
    if (turn(l))
      last = now_ms();
    else if (now_ms() - last > STALL_MS)
      return;
  }
}

/* Let every sender send `n` messages more. */
static void grant(load *l, uint64_t n) {
  int s;

  for (s = 0; s < N_SENDERS; s++)
    l->quota[s] += n;
  l->expected += n * N_SENDERS * N_NODES;
}

static int report(const load *l, uint64_t ms) {
  uint64_t lost = l->expected - l->n_delivered;

  printf("%llu messages, %llu deliveries in %.1f s: %llu lost, %llu doubled "
         "or out of order\n",
         (unsigned long long)(l->expected / N_NODES),
         (unsigned long long)l->n_delivered, (double)ms / 1000,
         (unsigned long long)lost, (unsigned long long)l->n_unordered);
  return lost > 0 || l->n_unordered > 0;
}

int main(int argc, char **argv) {
  static load l;
  uint64_t start;
  uint64_t n;
  int ports[N_NODES];

  if (argc != 4) {
    fprintf(stderr, "usage: relay_load PORT PORT MESSAGES\n");
    return 2;
  }
  ports[0] = atoi(argv[1]);
  ports[1] = atoi(argv[2]);
  n = strtoull(argv[3], NULL, 10);
  l.epoll = epoll_create1(0);
  open_all(&l, ports);
  start = now_ms();
  grant(&l, n / N_SENDERS);
  run(&l);
  grant(&l, N_RECEIVERS); /* the last round: one for each pair */
  run(&l);
  return report(&l, now_ms() - start);
}
