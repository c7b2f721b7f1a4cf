/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* cp-node: the node of the demo, of the tests, and for measuring. It lets
 * everybody be whom they say they are, so it is no program for the open
 * internet. What an application would write stands in this file and in
 * node_commands.c; options and plain HTTP have their own. */

#include "node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <uv.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#define CLOSE_GRACE_MS 5000
/* Connections that are worth a look at the memory that they leave. */
#define CROWD 64

/* A connection that wants notices. */
typedef struct watcher {
  struct watcher *next;
  struct watcher **prev;
  cp_conn_id id;
  size_t user_len;
  char user[255];
} watcher;

typedef struct node {
  node_options options;
  cp_server *server;
  watcher *watchers;
  cp_cluster_state noticed; /* what the watchers know */
  unsigned long n_open;
  unsigned long most_open; /* since memory was given back */
  uv_signal_t signals[3];
} node;

/* Marks a connection between accept and on_open. */
static char wants_notices;

/* Notices. ---------------------------------------------------------------- */

static void send_notice(cp_server *server, const watcher *w) {
  cp_cluster_state state = cp_server_cluster_state(server);
  char text[4096];
  char node_name[512];
  char user_name[2048];
  int len;

  node_print(node_name, sizeof node_name, cp_str(cp_server_name(server)), true);
  node_print(user_name, sizeof user_name, cp_bytes_of(w->user, w->user_len),
             true);
  len = snprintf(text, sizeof text,
                 NODE_NOTICE
                 "{\"node\":\"%s\",\"user\":\"%s\",\"cluster\":\"%s\","
                 "\"redis\":%s}",
                 node_name, user_name, node_state_name(state),
                 state == CP_DOWN ? "false" : "true");
  cp_send_to_conn(server, w->id, CP_TEXT, cp_bytes_of(text, (size_t)len), NULL);
}

static void watch(node *self, cp_conn *conn) {
  cp_bytes user = cp_conn_user(conn);
  watcher *w = malloc(sizeof *w);

  cp_conn_set_data(conn, w);
  if (w == NULL)
    return;
  w->user_len = user.len;
  memcpy(w->user, user.data, user.len);
  w->id = cp_conn_get_id(conn);
  w->next = self->watchers;
  w->prev = &self->watchers;
  if (w->next != NULL)
    w->next->prev = &w->next;
  self->watchers = w;
  send_notice(self->server, w);
}

static void unwatch(watcher *w) {
  if (w == NULL)
    return;
  *w->prev = w->next;
  if (w->next != NULL)
    w->next->prev = w->prev;
  free(w);
}

static void on_transport(cp_server *server, cp_cluster_state state,
                         const char *reason) {
  node *self = cp_server_data(server);
  watcher *w;

  (void)reason;
  if (state == self->noticed)
    return;
  self->noticed = state;
  for (w = self->watchers; w != NULL; w = w->next)
    send_notice(server, w);
}

static void log_line(const node *self, const char *level, const char *text) {
  fprintf(stderr, "%s: %s: %s\n",
          self->options.name != NULL ? self->options.name : "node", level,
          text);
}

/* A gap, on its way to those whom it concerns. */
typedef struct gap_notice {
  cp_server *server;
  char text[2048];
  size_t len;
  unsigned n_users;
} gap_notice;

static void count_user(void *data, cp_bytes user) {
  (void)user;
  ((gap_notice *)data)->n_users++;
}

static void send_gap(void *data, cp_conn *conn) {
  const gap_notice *notice = data;

  if (cp_conn_data(conn) != NULL)
    cp_send_to_conn(notice->server, cp_conn_get_id(conn), CP_TEXT,
                    cp_bytes_of(notice->text, notice->len), NULL);
}

/* An application would read from its database what was published meanwhile. */
static void on_gap(cp_server *server, const cp_gap *gap) {
  gap_notice notice = {.server = server};
  uint64_t from_ms = cp_gap_from_ms(gap), to_ms = cp_gap_to_ms(gap);
  char reason[1024];

  node_print(reason, sizeof reason, cp_str(cp_gap_reason(gap)), true);
  notice.len = (size_t)snprintf(
      notice.text, sizeof notice.text,
      NODE_NOTICE "{\"gap\":{\"from\":%llu,\"to\":%llu,\"reason\":\"%s\"}}",
      (unsigned long long)from_ms, (unsigned long long)to_ms, reason);
  cp_gap_each_conn(gap, send_gap, &notice);
  cp_gap_each_user(gap, count_user, &notice);
  snprintf(notice.text, sizeof notice.text, "gap: %u users, %llu ms: %s",
           notice.n_users, (unsigned long long)(to_ms - from_ms),
           cp_gap_reason(gap));
  log_line(cp_server_data(server), "warn", notice.text);
}

/* Connections. ------------------------------------------------------------ */

static void on_upgrade(cp_server *server, cp_request *request) {
  cp_bytes path = cp_request_path(request);
  cp_accept_options options;
  cp_bytes user;
  cp_bytes notices;
  int rc;

  (void)server;
  if (!(path.len == 1 || (path.len == 3 && memcmp(path.data, "/ws", 3) == 0))) {
    cp_request_refuse(request, 404, "connect to /ws\n");
    return;
  }
  rc = cp_request_query(request, "user", &user);
  if (rc == CP_E_NOTFOUND) {
    cp_request_refuse(request, 401, "who are you? /ws?user=NAME\n");
    return;
  }
  if (rc != 0 || user.len < 1 || user.len > 255 ||
      *(const char *)user.data == '}') {
    cp_request_refuse(request, 400,
                      "a user is 1 to 255 bytes and does not begin with }\n");
    return;
  }
  cp_accept_options_init(&options);
  if (cp_request_query(request, "notices", &notices) == 0 && notices.len == 1 &&
      *(const char *)notices.data == '1')
    options.data = &wants_notices;
  cp_request_accept(request, user, &options);
}

static void on_open(cp_server *server, cp_conn *conn, int unconfirmed) {
  node *self = cp_server_data(server);

  (void)unconfirmed;
  if (++self->n_open > self->most_open)
    self->most_open = self->n_open;
  if (cp_conn_data(conn) == &wants_notices)
    watch(self, conn);
}

/* Whenever half of a crowd has left, or everybody: what they had queued goes
 * back to the system. glibc would keep most of it for the next crowd. */
static void give_memory_back(node *self) {
  bool half_left =
      self->most_open >= CROWD && self->n_open <= self->most_open / 2;

  if (!half_left && self->n_open > 0)
    return;
#ifdef __GLIBC__
  malloc_trim(0);
#endif
  self->most_open = self->n_open;
}

static void on_close(cp_server *server, cp_conn *conn, uint16_t code,
                     cp_bytes reason) {
  node *self = cp_server_data(server);

  (void)code;
  (void)reason;
  unwatch(cp_conn_data(conn));
  self->n_open--;
  give_memory_back(self);
}

/* Messages. --------------------------------------------------------------- */

static void on_message(cp_server *server, cp_conn *conn, cp_type type,
                       cp_bytes message) {
  node *self = cp_server_data(server);

  if (self->options.echo)
    cp_send_to_conn(server, cp_conn_get_id(conn), type, message, NULL);
  else
    node_command(server, conn, self->options.receipts, type, message);
}

/* Process. ---------------------------------------------------------------- */

static void on_log(void *data, cp_log_level level, const char *text) {
  static const char *const names[] = {"", "error", "warn", "info", "debug"};

  log_line(data, names[level], text);
}

static void on_closed(void *data) {
  node *self = data;

  uv_close((uv_handle_t *)&self->signals[0], NULL);
  uv_close((uv_handle_t *)&self->signals[1], NULL);
  if (self->options.tls_cert != NULL)
    uv_close((uv_handle_t *)&self->signals[2], NULL);
}

static void on_signal(uv_signal_t *signal, int number) {
  node *self = signal->data;

  (void)number;
  cp_server_close(self->server, CLOSE_GRACE_MS, on_closed);
}

static void on_hangup(uv_signal_t *signal, int number) {
  node *self = signal->data;

  (void)number;
  if (cp_server_reload_tls(self->server, self->options.tls_cert,
                           self->options.tls_key) == 0 &&
      self->options.log_level >= CP_LOG_INFO)
    on_log(self, CP_LOG_INFO, "the certificate was read again");
}

static void catch_signal(node *self, int which, int number,
                         uv_signal_cb on_number) {
  uv_signal_t *signal = &self->signals[which];

  uv_signal_init(uv_default_loop(), signal);
  signal->data = self;
  uv_signal_start(signal, on_number, number);
}

/* A connection is a file descriptor. */
static void raise_fd_limit(void) {
  struct rlimit limit;

  if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
    return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

static void fill_options(cp_server_options *out, cp_redis_options *redis,
                         node *self) {
  const node_options *in = &self->options;

  cp_server_options_init(out);
  cp_redis_options_init(redis);
  redis->tls_ca = in->redis_ca;
  redis->sentinel_password = in->sentinel_password;
  out->data = self;
  out->redis = in->redis;
  out->redis_options = redis;
  out->log_level = in->log_level;
  out->slow_policy = in->slow;
  out->compress = in->compress;
  out->tls_cert = in->tls_cert;
  out->tls_key = in->tls_key;
  if (in->name != NULL)
    out->name = in->name;
  if (in->prefix != NULL)
    out->prefix = in->prefix;
  if (in->max_message > 0)
    out->max_message = in->max_message;
  if (in->send_queue > 0)
    out->max_send_queue = in->send_queue;
  out->max_conns = in->max_conns;
  out->max_conns_per_address = in->max_per_address;
  out->max_handshakes_per_second = in->max_handshakes;
  out->max_messages_per_second = in->max_messages;
  out->max_bytes_per_second = in->max_bytes;
  if (in->n_origins > 0)
    out->origins = in->origins;
  out->on_upgrade = on_upgrade;
  out->on_http = node_on_http;
  out->on_open = on_open;
  out->on_message = on_message;
  out->on_close = on_close;
  out->on_transport = on_transport;
  out->on_gap = on_gap;
  out->on_log = on_log;
}

/* "HOST:PORT" with the port that was really taken. */
static void print_ready(const node *self) {
  const char *listen = self->options.listen;
  const char *colon = strrchr(listen, ':');
  int port = cp_server_port(self->server);

  if (port == 0)
    printf("cp-node %s listening on %s\n", cp_server_name(self->server),
           listen);
  else
    printf("cp-node %s listening on %.*s:%d\n", cp_server_name(self->server),
           (int)(colon - listen), listen, port);
  fflush(stdout);
}

int main(int argc, char **argv) {
  cp_server_options options;
  cp_redis_options redis;
  node self;
  int rc;

  memset(&self, 0, sizeof self);
  self.noticed = CP_DOWN;
  node_options_parse(&self.options, argc, argv);
  raise_fd_limit();
  fill_options(&options, &redis, &self);
  rc = cp_server_create(&self.server, uv_default_loop(), &options);
  if (rc != 0) {
    fprintf(stderr, "cp-node: can't start: %s\n", cp_strerror(rc));
    return 2;
  }
  rc = cp_server_listen(self.server, self.options.listen);
  if (rc != 0) {
    fprintf(stderr, "cp-node: can't listen on %s: %s\n", self.options.listen,
            cp_strerror(rc));
    return rc == CP_E_INVALID ? 2 : 1;
  }
  catch_signal(&self, 0, SIGTERM, on_signal);
  catch_signal(&self, 1, SIGINT, on_signal);
  if (self.options.tls_cert != NULL)
    catch_signal(&self, 2, SIGHUP, on_hangup);
  print_ready(&self);
  uv_run(uv_default_loop(), UV_RUN_DEFAULT);
  uv_loop_close(uv_default_loop());
  return 0;
}
