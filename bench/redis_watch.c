/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "redis_watch.h"

#include "clock.h"
#include "die.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void nap(uint64_t ns) {
  struct timespec t = {(time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S)};
  nanosleep(&t, NULL);
}

static int dial(uint16_t port) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
    return fd;
  close(fd);
  return -1;
}

/* The number of channels that somebody is subscribed to; -1: Redis is gone. */
static int64_t count_channels(int fd) {
  static const char command[] = "INFO stats\r\n";
  static const char key[] = "\npubsub_channels:";
  char text[16384];
  size_t len = 0;
  const char *found = NULL;

  if (send(fd, command, strlen(command), MSG_NOSIGNAL) < 0)
    return -1;
  while (found == NULL || strchr(found + 1, '\n') == NULL) {
    ssize_t n = recv(fd, text + len, sizeof text - 1 - len, 0);
    if (n <= 0)
      return -1;
    len += (size_t)n;
    text[len] = '\0';
    found = strstr(text, key);
  }
  /* The rest of the answer is no longer than the pause before the next. */
  return strtoll(found + strlen(key), NULL, 10);
}

static void discard_rest(int fd) {
  char text[16384];

  while (recv(fd, text, sizeof text, MSG_DONTWAIT) > 0)
    ;
}

/* Returns when Redis goes away, or true when it is as it was. */
static bool watch_connection(redis_watch *w, int fd) {
  for (;;) {
    int64_t n = count_channels(fd);
    if (n < 0)
      return false;
    if (w->gone_ns == 0) {
      w->n_channels = (uint64_t)n;
    } else {
      if (w->back_ns == 0)
        w->back_ns = now_ns();
      if ((uint64_t)n >= w->n_channels) {
        w->restored_ns = now_ns();
        return true;
      }
    }
    nap(w->gone_ns == 0 ? 20 * 1000 * 1000 : 5 * 1000 * 1000);
    discard_rest(fd);
  }
}

static void *run(void *data) {
  redis_watch *w = data;

  for (;;) {
    int fd = dial(w->port);
    bool restored = fd >= 0 && watch_connection(w, fd);
    if (fd >= 0)
      close(fd);
    if (restored)
      return NULL;
    if (w->gone_ns == 0)
      w->gone_ns = now_ns();
    nap(1000 * 1000);
  }
}

void redis_watch_start(redis_watch *w, uint16_t port) {
  memset(w, 0, sizeof *w);
  w->port = port;
  if (pthread_create(&w->thread, NULL, run, w) != 0)
    die("can't start a thread");
  pthread_detach(w->thread);
}
