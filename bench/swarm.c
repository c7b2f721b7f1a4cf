/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "swarm.h"

#include "clock.h"
#include "die.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BUF (4 * 1024 * 1024) /* a frame must fit */
#define READ_MAX (256 * 1024)      /* at once */
#define EVENTS   512
/* Clients with the same source address: the system's search for a free port
 * gets slow when many are taken. */
#define PER_SOURCE 3000

/* On the loopback a segment is 64 KiB, and the system lends a sender megabytes;
 * these are an Ethernet's. */
static const int narrow_segment = 1448;
static const int narrow_buffer = 16384;

/* RFC 6455's own example. */
#define KEY    "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

/* Buffers. ---------------------------------------------------------------- */

static uint8_t *buf_extend(swarm_buf *buf, size_t len) {
  if (buf->len + len > buf->cap) {
    buf->cap = 2 * (buf->len + len);
    buf->data = realloc(buf->data, buf->cap);
    if (buf->data == NULL)
      die("no memory");
  }
  buf->len += len;
  return buf->data + buf->len - len;
}

static void buf_free(swarm_buf *buf) {
  free(buf->data);
  memset(buf, 0, sizeof *buf);
}

/* Connections. ------------------------------------------------------------ */

static void watch(client *c, int op) {
  struct epoll_event event = {.events = 0, .data.ptr = c};

  if (!c->paused)
    event.events |= EPOLLIN;
  if (c->wants_write)
    event.events |= EPOLLOUT;
  if (epoll_ctl(c->swarm->epoll_fd, op, c->fd, &event) != 0)
    die("epoll_ctl: %s", strerror(errno));
}

static void set_option(int fd, int level, int name, const void *value,
                       socklen_t len) {
  if (setsockopt(fd, level, name, value, len) != 0)
    die("setsockopt: %s", strerror(errno));
}

/* Close by reset: no port stays behind in TIME_WAIT. */
static int create_socket(const client *c) {
  const struct linger reset = {1, 0};
  const int on = 1;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

  if (fd < 0)
    die("socket: %s", strerror(errno));
  set_option(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  set_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
  if (c->narrow) {
    set_option(fd, SOL_SOCKET, SO_RCVBUF, &narrow_buffer, sizeof narrow_buffer);
    set_option(fd, IPPROTO_TCP, TCP_MAXSEG, &narrow_segment,
               sizeof narrow_segment);
  }
  return fd;
}

static void bind_source(const client *c) {
  struct sockaddr_in source = {.sin_family = AF_INET};
  uint32_t index = (uint32_t)(c - c->swarm->clients);

  source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + index / PER_SOURCE);
  if (bind(c->fd, (struct sockaddr *)&source, sizeof source) != 0)
    die("bind: %s", strerror(errno));
}

static void start_connecting(client *c) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(c->port)};

  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  c->fd = create_socket(c);
  bind_source(c);
  c->state = CLIENT_CONNECTING;
  c->wants_write = true;
  c->swarm->n_opening++;
  watch(c, EPOLL_CTL_ADD);
  if (connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0 &&
      errno != EINPROGRESS)
    client_close(c);
}

static void forget(client *c) {
  close(c->fd);
  c->fd = -1;
  c->state = CLIENT_CLOSED;
  c->paused = c->wants_write = false;
  buf_free(&c->in);
  buf_free(&c->out);
}

void client_close(client *c) {
  if (c->state == CLIENT_OPEN) {
    c->swarm->n_open--;
  } else if (c->state != CLIENT_CLOSED) {
    c->swarm->n_opening--;
    c->swarm->n_refused++;
  }
  if (c->state != CLIENT_CLOSED)
    forget(c);
}

/* The server or the system did it. */
static void break_off(client *c) {
  if (c->state == CLIENT_OPEN)
    c->swarm->n_broken++;
  client_close(c);
}

/* Write. ------------------------------------------------------------------ */

static void want_write(client *c, bool wanted) {
  if (c->wants_write == wanted)
    return;
  c->wants_write = wanted;
  watch(c, EPOLL_CTL_MOD);
}

static void flush(client *c) {
  ssize_t n;

  if (c->state == CLIENT_CLOSED || c->out.len == 0)
    return;
  n = send(c->fd, c->out.data, c->out.len, MSG_NOSIGNAL);
  if (n < 0 && errno != EAGAIN) {
    break_off(c);
    return;
  }
  if (n > 0) {
    c->out.len -= (size_t)n;
    memmove(c->out.data, c->out.data + n, c->out.len);
  }
  want_write(c, c->out.len > 0);
}

static void mark_dirty(client *c) {
  if (c->dirty)
    return;
  c->dirty = true;
  c->swarm->dirty[c->swarm->n_dirty++] = c;
}

static void flush_dirty(swarm *s) {
  uint32_t i;

  for (i = 0; i < s->n_dirty; i++) {
    s->dirty[i]->dirty = false;
    flush(s->dirty[i]);
  }
  s->n_dirty = 0;
}

/* Frames. ----------------------------------------------------------------- */

static size_t put_frame_head(uint8_t head[10], uint8_t opcode, size_t len) {
  const uint8_t masked = 0x80;
  size_t n_len = len < 126 ? 0 : len < 65536 ? 2 : 8;
  size_t i;

  head[0] = 0x80 | opcode;
  head[1] = masked | (uint8_t)(n_len == 0 ? len : n_len == 2 ? 126 : 127);
  for (i = 0; i < n_len; i++)
    head[2 + i] = (uint8_t)(len >> 8 * (n_len - 1 - i));
  return 2 + n_len;
}

static void mask(uint8_t *data, size_t len, uint32_t key) {
  const uint64_t wide = (uint64_t)key << 32 | key;
  const uint8_t *narrow = (const uint8_t *)&wide;
  uint64_t word;
  size_t i;

  for (i = 0; i + sizeof word <= len; i += sizeof word) {
    memcpy(&word, data + i, sizeof word);
    word ^= wide;
    memcpy(data + i, &word, sizeof word);
  }
  for (; i < len; i++)
    data[i] ^= narrow[i % 4];
}

static uint32_t next_mask(swarm *s) {
  s->mask = s->mask * 1664525 + 1013904223;
  return s->mask;
}

void client_send(client *c, uint8_t opcode, const struct iovec *parts,
                 size_t n) {
  uint32_t key = next_mask(c->swarm);
  uint8_t head[10];
  size_t head_len;
  size_t len = 0;
  uint8_t *at;
  size_t i;

  if (c->state != CLIENT_OPEN)
    return;
  for (i = 0; i < n; i++)
    len += parts[i].iov_len;
  head_len = put_frame_head(head, opcode, len);
  at = buf_extend(&c->out, head_len + sizeof key + len);
  memcpy(at, head, head_len);
  memcpy(at + head_len, &key, sizeof key);
  at += head_len + sizeof key;
  for (i = 0; i < n; i++) {
    memcpy(at, parts[i].iov_base, parts[i].iov_len);
    at += parts[i].iov_len;
  }
  mask(at - len, len, key);
  mark_dirty(c);
}

static void take_frame(client *c, uint8_t first, const uint8_t *data,
                       size_t len) {
  const swarm_events *events = c->swarm->events;
  struct iovec echo = {(void *)data, len};

  switch (first) {
  case 0x80 | WS_TEXT:
  case 0x80 | WS_BINARY:
    events->on_message(c->swarm->ctx, c, data, len);
    break;
  case 0x80 | WS_PING:
    client_send(c, WS_PONG, &echo, 1);
    break;
  case 0x80 | WS_PONG:
    if (events->on_pong != NULL)
      events->on_pong(c->swarm->ctx, c);
    break;
  case 0x80 | WS_CLOSE:
    break_off(c);
    break;
  default: /* fragments too: no server under test sends them */
    c->swarm->n_malformed++;
    break_off(c);
  }
}

/* The length of the frame's head, and of its payload; 0 if it isn't there. */
static size_t read_frame_head(const uint8_t *data, size_t len,
                              uint64_t *payload) {
  size_t n_len;
  size_t i;

  if (len < 2)
    return 0;
  n_len = data[1] < 126 ? 0 : data[1] == 126 ? 2 : 8;
  if (len < 2 + n_len)
    return 0;
  *payload = n_len == 0 ? data[1] : 0;
  for (i = 0; i < n_len; i++)
    *payload = *payload << 8 | data[2 + i];
  return 2 + n_len;
}

/* Returns the number of bytes that were whole frames. */
static size_t take_frames(client *c, const uint8_t *data, size_t len) {
  size_t used = 0;

  while (c->state == CLIENT_OPEN) {
    uint64_t payload;
    size_t head = read_frame_head(data + used, len - used, &payload);
    if (head == 0 || payload > len - used - head)
      break;
    take_frame(c, data[used], data + used + head, (size_t)payload);
    used += head + (size_t)payload;
  }
  return used;
}

/* The upgrade. ------------------------------------------------------------ */

static void ask(client *c) {
  char request[256];
  int len = snprintf(request, sizeof request,
                     "GET /?user=%c%u HTTP/1.1\r\n"
                     "Host: 127.0.0.1:%u\r\n"
                     "Upgrade: websocket\r\n"
                     "Connection: Upgrade\r\n"
                     "Sec-WebSocket-Key: " KEY "\r\n"
                     "Sec-WebSocket-Version: 13\r\n\r\n",
                     c->kind, (unsigned)(c->swarm->first + c->number),
                     (unsigned)c->port);

  c->state = CLIENT_ASKING;
  memcpy(buf_extend(&c->out, (size_t)len), request, (size_t)len);
  flush(c);
}

/* Returns the number of bytes of a whole answer, or 0. */
static size_t take_answer(client *c, const uint8_t *data, size_t len) {
  const uint8_t *end = memmem(data, len, "\r\n\r\n", 4);
  size_t head = end != NULL ? (size_t)(end - data) + 4 : 0;

  if (head == 0)
    return 0;
  if (memmem(data, head, "HTTP/1.1 101 ", 13) != data ||
      memmem(data, head, ACCEPT, strlen(ACCEPT)) == NULL) {
    break_off(c);
    return len;
  }
  c->state = CLIENT_OPEN;
  c->swarm->n_opening--;
  c->swarm->n_open++;
  return head;
}

/* Read. ------------------------------------------------------------------- */

static size_t take_bytes(client *c, const uint8_t *data, size_t len) {
  size_t used = 0;

  if (c->state == CLIENT_ASKING)
    used = take_answer(c, data, len);
  return used + take_frames(c, data + used, len - used);
}

static void keep_rest(client *c, const uint8_t *data, size_t len) {
  c->in.len = 0;
  if (len > 0)
    memcpy(buf_extend(&c->in, len), data, len);
  else if (c->in.cap > 0)
    buf_free(&c->in);
}

/* What was left over goes first, so that a frame is always in one piece. */
static void read_some(client *c) {
  uint8_t *data = c->swarm->read_buf;
  size_t len = c->in.len;
  size_t used;
  ssize_t n;

  if (len > READ_BUF - READ_MAX)
    die("a frame of more than %d bytes", READ_BUF - READ_MAX);
  if (len > 0)
    memcpy(data, c->in.data, len);
  n = recv(c->fd, data + len, READ_MAX, 0);
  if (n < 0 && errno == EAGAIN)
    return;
  if (n <= 0) {
    break_off(c);
    return;
  }
  len += (size_t)n;
  used = take_bytes(c, data, len);
  if (c->state != CLIENT_CLOSED)
    keep_rest(c, data + used, len - used);
}

static void finish_connecting(client *c) {
  socklen_t len = sizeof(int);
  int err = 0;

  getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len);
  if (err != 0) {
    break_off(c);
    return;
  }
  ask(c);
}

static void handle(client *c, uint32_t events) {
  if (c->state == CLIENT_CONNECTING && (events & ~(uint32_t)EPOLLIN) != 0)
    finish_connecting(c);
  else if (c->state != CLIENT_CLOSED && (events & EPOLLOUT) != 0)
    flush(c);
  if (c->state > CLIENT_CONNECTING && (events & ~(uint32_t)EPOLLOUT) != 0)
    read_some(c);
}

void swarm_poll(swarm *s, uint64_t deadline) {
  struct epoll_event events[EVENTS];
  struct timespec timeout = {0, 0};
  uint64_t now;
  int n;
  int i;

  flush_dirty(s);
  now = now_ns();
  if (deadline > now) {
    timeout.tv_sec = (time_t)((deadline - now) / NS_PER_S);
    timeout.tv_nsec = (long)((deadline - now) % NS_PER_S);
  }
  n = epoll_pwait2(s->epoll_fd, events, EVENTS, &timeout, NULL);
  for (i = 0; i < n; i++)
    handle(events[i].data.ptr, events[i].events);
}

void swarm_idle(swarm *s, double seconds) {
  uint64_t end = now_ns() + ns_of_seconds(seconds);

  while (now_ns() < end)
    swarm_poll(s, end);
}

bool swarm_open(swarm *s, unsigned concurrency, double seconds) {
  uint64_t deadline = now_ns() + ns_of_seconds(seconds);
  uint32_t next = 0;

  s->n_refused = 0;
  while (s->n_open + s->n_refused < s->n && now_ns() < deadline) {
    while (next < s->n && s->n_opening < concurrency) {
      client *c = &s->clients[next++];
      if (c->state == CLIENT_CLOSED)
        start_connecting(c);
    }
    swarm_poll(s, deadline);
  }
  return s->n_open == s->n;
}

void client_pause(client *c) {
  c->paused = true;
  watch(c, EPOLL_CTL_MOD);
}

/* Life. ------------------------------------------------------------------- */

static void raise_file_limit(uint32_t n) {
  struct rlimit limit;

  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < n + 64)
    die("%u clients are more than ulimit -n allows: %lu", (unsigned)n,
        (unsigned long)limit.rlim_cur);
}

void swarm_init(swarm *s, uint32_t n, const swarm_events *events, void *ctx) {
  uint32_t i;

  raise_file_limit(n);
  /* Timers to the microsecond: an open loop sends when a message is due. */
  prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
  memset(s, 0, sizeof *s);
  s->n = n;
  s->events = events;
  s->ctx = ctx;
  s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  s->clients = calloc(n, sizeof *s->clients);
  s->dirty = calloc(n, sizeof(client *));
  s->read_buf = malloc(READ_BUF);
  if (s->clients == NULL || s->dirty == NULL || s->read_buf == NULL ||
      s->epoll_fd < 0)
    die("can't begin: %s", strerror(errno));
  for (i = 0; i < n; i++) {
    s->clients[i].swarm = s;
    s->clients[i].fd = -1;
  }
}

void swarm_finish(swarm *s) {
  uint32_t i;

  for (i = 0; i < s->n; i++)
    client_close(&s->clients[i]);
  close(s->epoll_fd);
  free(s->clients);
  free(s->dirty);
  free(s->read_buf);
}
