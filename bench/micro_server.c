/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* A node without Redis and its clients in one process: the clients are plain
 * sockets that this file reads empty after every turn of the loop. */

#include "micro.h"

#include "clusterpush/clusterpush.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#define N_CLIENTS 16

typedef struct bench {
  uv_loop_t loop;
  cp_server *server;
  int n_open;
  bool closed;
  int clients[N_CLIENTS];
} bench;

static void on_upgrade(cp_server *server, cp_request *request) {
  cp_bytes user;

  (void)server;
  micro_check(cp_request_query(request, "user", &user) == 0 &&
                  cp_request_accept(request, user, NULL) == 0,
              "accept");
}

static void on_open(cp_server *server, cp_conn *conn, int unconfirmed) {
  bench *b = cp_server_data(server);

  (void)conn;
  (void)unconfirmed;
  b->n_open++;
}

static void start_server(bench *b) {
  cp_server_options options;

  memset(b, 0, sizeof *b);
  micro_check(uv_loop_init(&b->loop) == 0, "loop");
  cp_server_options_init(&options);
  options.data = b;
  options.on_upgrade = on_upgrade;
  options.on_open = on_open;
  micro_check(cp_server_create(&b->server, &b->loop, &options) == 0 &&
                  cp_server_listen(b->server, "127.0.0.1:0") == 0,
              "server");
}

static void read_all(bench *b) {
  char buf[65536];
  int i;

  for (i = 0; i < N_CLIENTS; i++)
    recv(b->clients[i], buf, sizeof buf, MSG_DONTWAIT);
}

static void turn(bench *b) {
  uv_run(&b->loop, UV_RUN_NOWAIT);
  read_all(b);
}

static void add_client(bench *b, int i) {
  struct sockaddr_in to = {.sin_family = AF_INET};
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  char request[256];
  int len = snprintf(request, sizeof request,
                     "GET /?user=u%d HTTP/1.1\r\nHost: localhost\r\n"
                     "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                     "Sec-WebSocket-Version: 13\r\n\r\n",
                     i);

  to.sin_port = htons((uint16_t)cp_server_port(b->server));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  micro_check(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0 &&
                  write(fd, request, (size_t)len) == len,
              "client");
  b->clients[i] = fd;
}

static void start(bench *b) {
  int i;

  start_server(b);
  for (i = 0; i < N_CLIENTS; i++)
    add_client(b, i);
  while (b->n_open < N_CLIENTS)
    turn(b);
}

static void on_closed(void *data) {
  bench *b = data;
  b->closed = true;
}

static void stop(bench *b) {
  int i;

  cp_server_close(b->server, 0, on_closed);
  for (i = 0; i < N_CLIENTS; i++)
    close(b->clients[i]);
  while (!b->closed)
    uv_run(&b->loop, UV_RUN_ONCE);
  micro_check(uv_loop_close(&b->loop) == 0, "close");
}

static void run(size_t n, bool broadcast) {
  char memory[64];
  char user[8];
  bench b;
  size_t i;

  memset(memory, 'x', sizeof memory);
  start(&b);
  for (i = 0; i < n; i++) {
    cp_bytes body = cp_bytes_of(memory, sizeof memory);
    int len = snprintf(user, sizeof user, "u%d", (int)(i % N_CLIENTS));
    if (broadcast && i % N_CLIENTS == 0)
      micro_check(cp_broadcast(b.server, CP_TEXT, body, NULL) == 0, "send");
    else if (!broadcast)
      micro_check(cp_send_to_user(b.server, cp_bytes_of(user, (size_t)len),
                                  CP_TEXT, body, NULL) == 0,
                  "send");
    if (i % N_CLIENTS == N_CLIENTS - 1)
      turn(&b);
  }
  stop(&b);
}

void micro_send_to_user(size_t n) {
  run(n, false);
}

void micro_broadcast(size_t n) {
  run(n, true);
}
