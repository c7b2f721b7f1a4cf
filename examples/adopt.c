/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* An HTTP server of one's own, on plain epoll, that pushes: it keeps "/" for
 * itself and hands "/ws" over.
 *
 *   adopt PORT          (REDIS_URL in the environment: one node of a cluster)
 *
 * The library's loop runs on a thread of its own. Between the two threads there
 * are two calls, both allowed on any: cp_server_adopt(), when a client asks for
 * "/ws", and cp_broadcast(), when one asks for "/news?TEXT".
 *
 * The HTTP here is as little as the example needs: one request a connection,
 * and a whole head in what the first reads bring. */

#include <clusterpush/clusterpush.h>

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#define MAX_HEAD    4096
#define MAX_READING 256 /* clients whose request is being read */

typedef struct client {
  size_t len;
  int fd; /* -1: this place is free */
  char head[MAX_HEAD + 1];
} client;

static const char page[] =
    "<!doctype html><title>adopt</title><h1>News</h1><ul id=news></ul>\n"
    "<script>\n"
    "new WebSocket(`ws://${location.host}/ws`).onmessage = m => {\n"
    "  const item = document.createElement('li');\n"
    "  item.textContent = m.data;\n"
    "  news.append(item);\n"
    "};\n"
    "</script>\n";

/* The library's thread. --------------------------------------------------- */

typedef struct pusher {
  uv_loop_t loop;
  uv_thread_t thread;
  uv_async_t stop; /* how the other thread ends it */
  cp_server *server;
} pusher;

static void on_upgrade(cp_server *server, cp_request *request) {
  (void)server;
  cp_request_accept(request, cp_str("reader"), NULL);
}

static void on_stop(uv_async_t *async) {
  pusher *self = async->data;

  uv_close((uv_handle_t *)async, NULL);
  cp_server_close(self->server, 2000, NULL);
}

static void run(void *arg) {
  pusher *self = arg;
  uv_run(&self->loop, UV_RUN_DEFAULT);
}

static int pusher_start(pusher *self) {
  cp_server_options options;
  int rc;

  uv_loop_init(&self->loop);
  uv_async_init(&self->loop, &self->stop, on_stop);
  self->stop.data = self;
  cp_server_options_init(&options);
  options.redis = getenv("REDIS_URL");
  options.max_conns_per_user = 0; /* they are all called "reader" */
  options.on_upgrade = on_upgrade;
  rc = cp_server_create(&self->server, &self->loop, &options);
  if (rc != 0)
    return rc;
  cp_server_ref(self->server); /* for this thread, which sends */
  return uv_thread_create(&self->thread, run, self);
}

static void pusher_stop(pusher *self) {
  uv_async_send(&self->stop);
  uv_thread_join(&self->thread);
  cp_server_unref(self->server);
  uv_loop_close(&self->loop);
}

/* The HTTP server. -------------------------------------------------------- */

static void answer(const client *c, const char *status, const char *body) {
  char head[256];
  int n = snprintf(head, sizeof head,
                   "HTTP/1.1 %s\r\nContent-Type: text/html\r\n"
                   "Content-Length: %zu\r\nConnection: close\r\n\r\n",
                   status, strlen(body));

  if (send(c->fd, head, (size_t)n, MSG_NOSIGNAL) == n)
    (void)!send(c->fd, body, strlen(body), MSG_NOSIGNAL);
}

static void drop(client *c) {
  close(c->fd);
  c->fd = -1;
}

/* The library goes on with this socket, from the first byte that was read. */
static void hand_over(pusher *push, client *c) {
  cp_adopt_options options;
  int rc;

  cp_adopt_options_init(&options);
  options.fd = c->fd;
  options.received = cp_bytes_of(c->head, c->len);
  rc = cp_server_adopt(push->server, &options);
  if (rc == 0) {
    c->fd = -1; /* the socket is the library's now */
    return;
  }
  answer(c, "503 Service Unavailable", cp_strerror(rc)); /* still ours */
  drop(c);
}

static void tell(pusher *push, const client *c) {
  const char *text = c->head + strlen("GET /news?");
  int rc = cp_broadcast(push->server, CP_TEXT,
                        cp_bytes_of(text, strcspn(text, " ")), NULL);

  answer(c, rc == 0 ? "202 Accepted" : "400 Bad Request", cp_strerror(rc));
}

static int asks_for(const client *c, const char *target) {
  size_t len = strlen(target);

  return strncmp(c->head, "GET ", 4) == 0 &&
         strncmp(c->head + 4, target, len) == 0 &&
         strchr(" ?", c->head[4 + len]) != NULL;
}

static void serve(pusher *push, client *c) {
  if (asks_for(c, "/ws")) {
    hand_over(push, c);
    return;
  }
  if (asks_for(c, "/news") && c->head[strlen("GET /news")] == '?')
    tell(push, c);
  else if (asks_for(c, "/"))
    answer(c, "200 OK", page);
  else
    answer(c, "404 Not Found", "not found\n");
  drop(c);
}

static void on_readable(pusher *push, int epoll, client *c) {
  ssize_t n = recv(c->fd, c->head + c->len, MAX_HEAD - c->len, 0);

  if (n < 0 && (errno == EAGAIN || errno == EINTR))
    return;
  if (n > 0)
    c->len += (size_t)n;
  c->head[c->len] = '\0';
  if (n > 0 && strstr(c->head, "\r\n\r\n") == NULL && c->len < MAX_HEAD)
    return;
  /* Before it is handed over, nobody else may watch it any more. */
  epoll_ctl(epoll, EPOLL_CTL_DEL, c->fd, NULL);
  if (n > 0)
    serve(push, c);
  else
    drop(c);
}

static int watch(int epoll, int fd, void *data) {
  struct epoll_event event = {EPOLLIN, {data}};
  return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static void on_client(int epoll, int listener, client *clients) {
  int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  int i = 0;

  if (fd < 0)
    return;
  while (i < MAX_READING && clients[i].fd >= 0)
    i++;
  if (i == MAX_READING || watch(epoll, fd, &clients[i]) != 0) {
    close(fd);
    return;
  }
  clients[i].fd = fd;
  clients[i].len = 0;
}

static void run_http(pusher *push, int listener, int signals) {
  static client clients[MAX_READING];
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event;
  int i;

  for (i = 0; i < MAX_READING; i++)
    clients[i].fd = -1;
  watch(epoll, listener, &listener);
  watch(epoll, signals, &signals);
  do {
    if (epoll_wait(epoll, &event, 1, -1) != 1)
      event.data.ptr = NULL; /* interrupted */
    else if (event.data.ptr == &listener)
      on_client(epoll, listener, clients);
    else if (event.data.ptr != &signals)
      on_readable(push, epoll, event.data.ptr);
  } while (event.data.ptr != &signals);
  close(epoll);
}

static int listen_on(const char *port) {
  struct sockaddr_in address = {.sin_family = AF_INET};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  int on = 1;

  address.sin_port = htons((uint16_t)atoi(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
      listen(fd, 128) == 0)
    return fd;
  perror(port);
  exit(1);
}

/* Blocked in every thread, so that it waits to be read from a descriptor. */
static int open_signals(void) {
  sigset_t set;

  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  sigprocmask(SIG_BLOCK, &set, NULL);
  return signalfd(-1, &set, SFD_CLOEXEC);
}

int main(int argc, char **argv) {
  int listener, signals, rc;
  static pusher push;

  if (argc != 2) {
    fprintf(stderr, "usage: adopt PORT\n");
    return 2;
  }
  listener = listen_on(argv[1]);
  signals = open_signals();
  rc = pusher_start(&push);
  if (rc != 0) {
    fprintf(stderr, "adopt: %s\n", cp_strerror(rc));
    return 1;
  }
  run_http(&push, listener, signals);
  pusher_stop(&push);
  close(listener);
  close(signals);
  return 0;
}
