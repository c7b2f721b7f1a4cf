/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* limits: what the system and Redis allow at best, to be measured in the same
 * run as the nodes.
 *
 *   limits fanout SOCKETS SIZE JOINED SECONDS
 *
 * A bare loop of write(2) over so many connected sockets; each write is JOINED
 * ready-made frames of SIZE bytes of payload. A second process reads. A round
 * begins when the last one has been read.
 *
 *   limits batched SOCKETS SIZE JOINED SECONDS
 *
 * The same through io_uring, 512 sends in one system call, if liburing was
 * there when this was built.
 *
 *   limits redis PORT PID SIZE BATCH SECONDS
 *
 * PUBLISH, so many in one write, to channels that a second process subscribed.
 * The next batch goes out when the last one is answered.
 *
 *   limits core SECONDS
 *
 * The same again and again, by this process alone, and how long it takes each
 * time: 64 bytes written to a TCP connection of its own and read from it, 500
 * times. What differs is how fast the machine is at that moment. */

#include "batch.h"
#include "clock.h"
#include "die.h"
#include "proc.h"
#include "report.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define READ_BUF (256 * 1024)
#define WARMUP_S 1.0
#define CHANNELS 1000
#define EVENTS   512
#define TRIPS    500 /* some 2 ms */

static void check(int ok, const char *what) {
  if (!ok)
    die("%s: %s", what, strerror(errno));
}

static void *allocate(size_t size) {
  void *memory = malloc(size);

  check(memory != NULL, "malloc");
  return memory;
}

static void set_nodelay(int fd) {
  const int on = 1;
  check(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0,
        "TCP_NODELAY");
}

static int dial(in_port_t port) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = port};
  int fd = socket(AF_INET, SOCK_STREAM, 0);

  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  check(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0,
        "connect");
  set_nodelay(fd);
  return fd;
}

static int listen_anywhere(in_port_t *port) {
  struct sockaddr_in address = {.sin_family = AF_INET};
  socklen_t len = sizeof address;
  int fd = socket(AF_INET, SOCK_STREAM, 0);

  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  check(bind(fd, (struct sockaddr *)&address, len) == 0, "bind");
  check(listen(fd, SOMAXCONN) == 0, "listen");
  check(getsockname(fd, (struct sockaddr *)&address, &len) == 0, "getsockname");
  *port = address.sin_port;
  return fd;
}

static void write_all(int fd, const char *data, size_t len) {
  while (len > 0) {
    ssize_t n = write(fd, data, len);
    check(n > 0, "write");
    data += n;
    len -= (size_t)n;
  }
}

static void signal_event(int fd) {
  const uint64_t one = 1;
  check(write(fd, &one, sizeof one) == sizeof one, "eventfd");
}

static void await_event(int fd) {
  uint64_t n;
  check(read(fd, &n, sizeof n) == sizeof n, "eventfd");
}

static pid_t fork_child(void) {
  pid_t pid = fork();

  check(pid >= 0, "fork");
  if (pid == 0)
    prctl(PR_SET_PDEATHSIG, SIGKILL);
  return pid;
}

static void end_child(pid_t pid) {
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
}

/* Fan-out. ---------------------------------------------------------------- */

typedef struct fanout {
  int n_sockets;
  size_t size;
  size_t joined;
  double seconds;
  int *sockets;
  char *frames; /* what is written to each */
  size_t len;
  batch_writer *writer; /* NULL: write(2) */
  int all_read;         /* an eventfd: the reader has read a whole round */
} fanout;

static void make_frames(fanout *f) {
  size_t head_len = f->size < 126 ? 2 : 4;
  size_t i;
  char *at;

  f->len = f->joined * (head_len + f->size);
  f->frames = allocate(f->len);
  for (i = 0, at = f->frames; i < f->joined; i++) {
    *at++ = (char)0x81;
    *at++ = (char)(head_len == 2 ? f->size : 126);
    if (head_len == 4) {
      *at++ = (char)(f->size >> 8);
      *at++ = (char)f->size;
    }
    memset(at, 'x', f->size);
    at += f->size;
  }
}

/* The second process: connect, then read whatever comes. */
static void read_rounds(const fanout *f, in_port_t port) {
  const uint64_t round = (uint64_t)f->n_sockets * f->len;
  struct epoll_event events[EVENTS];
  char *buf = allocate(READ_BUF);
  int epoll_fd = epoll_create1(0);
  uint64_t n_read = 0;
  int i;

  for (i = 0; i < f->n_sockets; i++) {
    struct epoll_event event = {.events = EPOLLIN};
    event.data.fd = dial(port);
    check(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, event.data.fd, &event) == 0,
          "epoll_ctl");
    signal_event(f->all_read);
  }
  for (;;) {
    int n = epoll_wait(epoll_fd, events, EVENTS, -1);
    for (i = 0; i < n; i++) {
      ssize_t len = read(events[i].data.fd, buf, READ_BUF);
      check(len > 0, "read");
      n_read += (uint64_t)len;
    }
    if (n_read == round) {
      n_read = 0;
      signal_event(f->all_read);
    }
  }
}

/* Returns the child. */
static pid_t connect_sockets(fanout *f) {
  in_port_t port;
  int listener = listen_anywhere(&port);
  pid_t child;
  int i;

  child = fork_child();
  if (child == 0)
    read_rounds(f, port);
  f->sockets = allocate((size_t)f->n_sockets * sizeof *f->sockets);
  for (i = 0; i < f->n_sockets; i++) {
    await_event(f->all_read);
    f->sockets[i] = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    check(f->sockets[i] >= 0, "accept");
    set_nodelay(f->sockets[i]);
  }
  return child;
}

static void write_each(const fanout *f) {
  int i;

  for (i = 0; i < f->n_sockets; i++)
    check(write(f->sockets[i], f->frames, f->len) == (ssize_t)f->len, "write");
}

/* Returns the number of rounds. */
static uint64_t write_rounds(const fanout *f, double seconds) {
  uint64_t end = now_ns() + ns_of_seconds(seconds);
  uint64_t n = 0;

  for (; now_ns() < end; n++) {
    if (f->writer != NULL)
      batch_write(f->writer, f->frames, f->len);
    else
      write_each(f);
    await_event(f->all_read);
  }
  return n;
}

static void measure_fanout(fanout *f, bool batched) {
  uint64_t cpu;
  uint64_t began;
  double n;
  pid_t child;

  f->all_read = eventfd(0, EFD_SEMAPHORE);
  make_frames(f);
  child = connect_sockets(f);
  if (batched)
    f->writer = batch_open(f->sockets, (unsigned)f->n_sockets);
  write_rounds(f, WARMUP_S);
  cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
  began = now_ns();
  n = (double)write_rounds(f, f->seconds) * f->n_sockets * (double)f->joined;
  cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
  report_begin("limit_fanout", batched ? "batched" : "write");
  report_count("users", (uint64_t)f->n_sockets);
  report_count("size", f->size);
  report_count("window", f->joined);
  report_number("per_second", n / seconds_of_ns(now_ns() - began));
  report_number("node_us", us_of_ns(cpu) / n);
  report_end();
  if (batched)
    batch_close(f->writer);
  end_child(child);
}

static void fanout_main(char **args, bool batched) {
  struct rlimit limit;
  fanout f = {.n_sockets = atoi(args[0]),
              .size = (size_t)atoi(args[1]),
              .joined = (size_t)atoi(args[2]),
              .seconds = atof(args[3])};

  if (f.n_sockets < 1 || f.size < 1 || f.size > 65535 || f.joined < 1)
    die("fanout SOCKETS SIZE(1..65535) JOINED SECONDS");
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  measure_fanout(&f, batched);
}

/* Redis. ------------------------------------------------------------------ */

typedef struct batch {
  char *commands;
  size_t len;
  size_t reply_len;
} batch;

static void subscribe_all(int fd) {
  char *command = allocate(64 + CHANNELS * 16);
  int len = sprintf(command, "*%d\r\n$9\r\nSUBSCRIBE\r\n", CHANNELS + 1);
  int i;

  for (i = 0; i < CHANNELS; i++)
    len += sprintf(command + len, "$4\r\nu%03d\r\n", i);
  write_all(fd, command, (size_t)len);
  free(command);
}

/* The second process: says that it is ready when the last channel is confirmed,
 * and reads whatever comes. */
static void read_messages(in_port_t port, int ready) {
  char *buf = allocate(READ_BUF);
  int fd = dial(port);
  size_t len = 0;
  char last[64];

  sprintf(last, "u%03d\r\n:%d\r\n", CHANNELS - 1, CHANNELS);
  subscribe_all(fd);
  do {
    ssize_t n = read(fd, buf + len, READ_BUF - len);
    check(n > 0, "subscribe");
    len += (size_t)n;
  } while (memmem(buf, len, last, strlen(last)) == NULL);
  signal_event(ready);
  while (read(fd, buf, READ_BUF) > 0)
    ;
  exit(0);
}

static batch make_batch(size_t n, size_t size) {
  batch b = {allocate(n * (size + 64)), 0, n * strlen(":1\r\n")};
  size_t i;

  for (i = 0; i < n; i++) {
    b.len += (size_t)sprintf(b.commands + b.len,
                             "*3\r\n$7\r\nPUBLISH\r\n$4\r\nu%03zu\r\n$%zu\r\n",
                             i * 7919 % CHANNELS, size);
    memset(b.commands + b.len, 'x', size);
    b.len += size;
    memcpy(b.commands + b.len, "\r\n", 2);
    b.len += 2;
  }
  return b;
}

/* Returns the number of batches. */
static uint64_t publish_for(int fd, const batch *b, double seconds) {
  uint64_t end = now_ns() + ns_of_seconds(seconds);
  char replies[4096];
  uint64_t n = 0;

  for (; now_ns() < end; n++) {
    size_t awaited = b->reply_len;
    write_all(fd, b->commands, b->len);
    while (awaited > 0) {
      ssize_t got = read(fd, replies, sizeof replies);
      check(got > 0, "reply");
      awaited -= (size_t)got;
    }
  }
  return n;
}

static void measure_redis(in_port_t port, procs *redis, size_t size,
                          size_t n_joined, double seconds) {
  batch b = make_batch(n_joined, size);
  int ready = eventfd(0, 0);
  pid_t child = fork_child();
  uint64_t began;
  double n;
  int fd;

  if (child == 0)
    read_messages(port, ready);
  await_event(ready);
  fd = dial(port);
  publish_for(fd, &b, WARMUP_S);
  procs_mark(redis);
  began = now_ns();
  n = (double)publish_for(fd, &b, seconds) * (double)n_joined;
  procs_stop(redis);
  report_begin("limit_redis", "PUBLISH");
  report_count("size", size);
  report_count("window", n_joined);
  report_number("per_second", n / seconds_of_ns(now_ns() - began));
  report_number("redis_us", us_of_ns(procs_cpu_ns(redis, "redis")) / n);
  report_end();
  end_child(child);
}

static void redis_main(char **args) {
  int port = atoi(args[0]);
  int size = atoi(args[2]);
  int n_joined = atoi(args[3]);
  char name[32];
  procs redis;

  snprintf(name, sizeof name, "redis=%s", args[1]);
  if (port < 1 || port > 65535 || size < 1 || n_joined < 1 ||
      !procs_parse(&redis, name))
    die("redis PORT PID SIZE BATCH SECONDS");
  measure_redis(htons((uint16_t)port), &redis, (size_t)size, (size_t)n_joined,
                atof(args[4]));
}

/* The core. --------------------------------------------------------------- */

static void make_trips(int from, int to) {
  char text[64] = "";
  int i;

  for (i = 0; i < TRIPS; i++) {
    write_all(from, text, sizeof text);
    check(read(to, text, sizeof text) == sizeof text, "read");
  }
}

static void core_main(double seconds) {
  static histogram times;
  in_port_t port;
  int listener = listen_anywhere(&port);
  int from = dial(port);
  int to = accept(listener, NULL, NULL);
  uint64_t began = now_ns();
  uint64_t end = began + ns_of_seconds(seconds);

  check(to >= 0, "accept");
  while (began < end) {
    uint64_t now;
    make_trips(from, to);
    now = now_ns();
    histogram_add(&times, now - began);
    began = now;
  }
  report_begin("limit_core", "core");
  report_latency("", &times);
  report_end();
  close(to);
  close(from);
  close(listener);
}

int main(int argc, char **argv) {
  if (argc == 6 && strcmp(argv[1], "fanout") == 0)
    fanout_main(argv + 2, false);
  else if (argc == 6 && strcmp(argv[1], "batched") == 0)
    fanout_main(argv + 2, true);
  else if (argc == 7 && strcmp(argv[1], "redis") == 0)
    redis_main(argv + 2);
  else if (argc == 3 && strcmp(argv[1], "core") == 0)
    core_main(atof(argv[2]));
  else
    die("fanout|batched SOCKETS SIZE JOINED SECONDS | redis PORT PID SIZE BATCH "
        "SECONDS | core SECONDS");
  return 0;
}
