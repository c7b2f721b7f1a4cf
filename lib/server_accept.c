/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* From a listening socket to an open connection: who may come in, and whom the
 * application is asked about (its answers: server_answer.c).
 *
 * A request that waits for its answer holds a reference on the server, since
 * the application may answer after everything else has gone. */

#include "server.h"

#include "bytes.h"
#include "orders.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 1024
/* After an accept that found no memory. */
#define STALL_MS 100

typedef struct cp__listener {
  cp__list link;   /* in cp_server.listeners */
  cp__timed stall; /* in cp_server.stalled */
  cp_server *server;
  bool is_unix;
  union {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
  } uv;
} cp__listener;

/* Listen. ----------------------------------------------------------------- */

static void accept_next(cp__listener *listener) {
  cp_server *server = listener->server;

  if (cp__conn_accept(&server->peers, &listener->uv.stream) == 0)
    return;
  cp__timed_start(&server->stalled, &listener->stall);
  cp__logf(&server->log, CP_LOG_WARN, "accept: out of memory, waiting");
}

static void on_stall_over(cp__sweep_list *list, cp__timed *item) {
  (void)list;
  accept_next(cp__container_of(item, cp__listener, stall));
}

static void on_connection(uv_stream_t *stream, int status) {
  cp__listener *listener = stream->data;

  if (status == 0)
    accept_next(listener);
  else
    cp__logf(&listener->server->log, CP_LOG_WARN, "accept: %s",
             cp_strerror(status));
}

void cp__server_init_accept(cp_server *server) {
  cp__list_init(&server->listeners);
  cp__sweep_add_list(&server->sweep, &server->stalled, STALL_MS, on_stall_over);
}

static void on_listener_closed(uv_handle_t *handle) {
  cp__listener *listener = handle->data;
  cp_server *server = listener->server;

  cp__list_remove(&listener->link);
  cp__free(server->alloc, listener);
  cp__server_maybe_end(server);
}

static void close_listener(cp__listener *listener) {
  cp__timed_stop(&listener->stall);
  if (!uv_is_closing(&listener->uv.handle))
    uv_close(&listener->uv.handle, on_listener_closed);
}

void cp__server_close_listeners(cp_server *server) {
  cp__list *it;

  for (it = server->listeners.next; it != &server->listeners; it = it->next)
    close_listener(cp__container_of(it, cp__listener, link));
}

static cp__listener *create_listener(cp_server *server, bool is_unix) {
  cp__listener *listener = cp__calloc(server->alloc, sizeof *listener);
  int rc;

  if (listener == NULL)
    return NULL;
  listener->server = server;
  listener->is_unix = is_unix;
  rc = is_unix ? uv_pipe_init(server->loop, &listener->uv.pipe, 0)
               : uv_tcp_init(server->loop, &listener->uv.tcp);
  if (rc != 0) {
    cp__free(server->alloc, listener);
    return NULL;
  }
  listener->uv.handle.data = listener;
  cp__timed_init(&listener->stall);
  cp__list_push_back(&server->listeners, &listener->link);
  return listener;
}

static int start_listener(cp__listener *listener, int rc) {
  if (rc == 0)
    rc = uv_listen(&listener->uv.stream, BACKLOG, on_connection);
  if (rc != 0)
    close_listener(listener);
  return rc;
}

static bool somebody_listens(const struct sockaddr_un *address) {
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  bool refused;

  if (fd < 0)
    return true;
  fcntl(fd, F_SETFL, O_NONBLOCK);
  refused =
      connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 &&
      errno == ECONNREFUSED;
  close(fd);
  return !refused;
}

/* A socket file that nobody listens on any more would be "in use" for ever. */
static void remove_stale_socket(const struct sockaddr_un *address) {
  struct stat file;

  if (lstat(address->sun_path, &file) == 0 && S_ISSOCK(file.st_mode) &&
      !somebody_listens(address))
    unlink(address->sun_path);
}

static int listen_unix(cp_server *server, const char *path) {
  struct sockaddr_un address;
  cp__listener *listener;

  if (path[0] != '/')
    return CP_E_INVALID;
  if (strlen(path) >= sizeof address.sun_path)
    return UV_ENAMETOOLONG;
  memset(&address, 0, sizeof address);
  address.sun_family = AF_UNIX;
  strcpy(address.sun_path, path);
  listener = create_listener(server, true);
  if (listener == NULL)
    return CP_E_NOMEM;
  remove_stale_socket(&address);
  return start_listener(listener, uv_pipe_bind(&listener->uv.pipe, path));
}

static int listen_sockaddr(cp_server *server, const struct sockaddr *address) {
  cp__listener *listener = create_listener(server, false);
  int rc;

  if (listener == NULL)
    return CP_E_NOMEM;
  rc = uv_tcp_bind(&listener->uv.tcp, address, 0);
  if (rc == 0 && CP__NODELAY_IS_INHERITED)
    uv_tcp_nodelay(&listener->uv.tcp, 1);
  return start_listener(listener, rc);
}

/* Split "HOST:PORT" or "[V6]:PORT"; `host` has room for 256 bytes. */
static int split_address(const char *address, char *host, const char **port) {
  const char *colon = strrchr(address, ':');
  const char *begin = address;
  size_t len;

  if (colon == NULL)
    return CP_E_INVALID;
  len = (size_t)(colon - address);
  if (address[0] == '[') {
    if (len < 3 || colon[-1] != ']')
      return CP_E_INVALID;
    begin++;
    len -= 2;
  } else if (memchr(address, ':', len) != NULL) {
    return CP_E_INVALID;
  }
  if (len >= 256 || cp__bytes_decimal(cp_str(colon + 1), 65535) < 0)
    return CP_E_INVALID;
  memcpy(host, begin, len);
  host[len] = '\0';
  *port = colon + 1;
  return 0;
}

static int listen_host(cp_server *server, const char *host, const char *port) {
  struct addrinfo hints;
  uv_getaddrinfo_t req;
  int rc;

  memset(&hints, 0, sizeof hints);
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  rc = uv_getaddrinfo(server->loop, &req, NULL, host, port, &hints);
  if (rc != 0)
    return rc;
  rc = listen_sockaddr(server, req.addrinfo->ai_addr);
  uv_freeaddrinfo(req.addrinfo);
  return rc;
}

static int listen_tcp(cp_server *server, const char *host, const char *port) {
  int rc;

  if (host[0] != '\0')
    return listen_host(server, host, port);
  rc = listen_host(server, "::", port); /* IPv4 too */
  if (rc == 0 || rc == UV_EADDRINUSE || rc == UV_EACCES)
    return rc;
  return listen_host(server, "0.0.0.0", port); /* a machine without IPv6 */
}

static int listen_somewhere(cp_server *server, const char *address) {
  char host[256];
  const char *port;
  int rc;

  if (strncmp(address, "unix:", 5) == 0)
    return listen_unix(server, address + 5);
  rc = split_address(address, host, &port);
  return rc != 0 ? rc : listen_tcp(server, host, port);
}

int cp_server_listen(cp_server *server, const char *address) {
  int rc;

  if (server->state != CP__SERVER_OPEN)
    return CP_E_CLOSED;
  rc = listen_somewhere(server, address);
  if (rc != 0)
    cp__logf(&server->log, CP_LOG_ERROR, "listen on %s: %s", address,
             rc == CP_E_INVALID ? "this is no address" : cp_strerror(rc));
  return rc;
}

int cp__server_load_tls(cp_server *server, const char *cert, const char *key) {
  char text[CP__TLS_TEXT_SIZE];
  cp__tls_options options;
  cp__tls_context *context;
  int rc;

  memset(&options, 0, sizeof options);
  options.server = true;
  options.cert_file = cert;
  options.key_file = key;
  rc = cp__tls_context_create(&context, &options, server->alloc, text);
  if (rc == 0)
    return cp__peers_use_tls(&server->peers, context);
  cp__logf(&server->log, CP_LOG_ERROR, "tls: %s", text);
  return rc;
}

int cp_server_reload_tls(cp_server *server, const char *cert, const char *key) {
  if (server->state != CP__SERVER_OPEN)
    return CP_E_CLOSED;
  if (server->peers.tls_context == NULL)
    return CP_E_STATE;
  if (cert == NULL || key == NULL)
    return CP_E_INVALID;
  return cp__server_load_tls(server, cert, key);
}

int cp_server_port(const cp_server *server) {
  struct sockaddr_storage name;
  cp__list *it;

  for (it = server->listeners.next; it != &server->listeners; it = it->next) {
    cp__listener *listener = cp__container_of(it, cp__listener, link);
    int len = sizeof name;
    if (listener->is_unix ||
        uv_tcp_getsockname(&listener->uv.tcp, (struct sockaddr *)&name, &len))
      continue;
    return ntohs(name.ss_family == AF_INET6
                     ? ((struct sockaddr_in6 *)&name)->sin6_port
                     : ((struct sockaddr_in *)&name)->sin_port);
  }
  return 0;
}

/* Judge. ------------------------------------------------------------------ */

static bool origin_is_listed(const cp_server *server, cp_bytes origin) {
  const char *const *list = server->options.origins;

  for (; *list != NULL; list++)
    if (strcmp(*list, "*") == 0 ||
        cp__bytes_equal_any_case(cp_str(*list), origin))
      return true;
  return false;
}

static bool origin_is_allowed(const cp_server *server,
                              const cp__request_head *head) {
  if (head->origin.data == NULL)
    return true;
  if (server->options.origins == NULL)
    return cp__origin_is_host(head->origin, head->host);
  return origin_is_listed(server, head->origin);
}

bool cp__server_is_full(const cp_server *server) {
  size_t limit = server->options.max_conns;
  return limit > 0 && server->n_joined >= limit;
}

static void refuse_full(cp_server *server, cp_request *request) {
  server->stats.full_refusals++;
  cp_request_refuse(request, 503, "too many connections\n");
}

/* False: the client's offers are no list of extensions. */
static bool negotiate(const cp_server *server, cp_request *request) {
  int window_bits = server->peers.window_bits;

  if (window_bits == 0)
    return true;
  return cp__deflate_negotiate(&request->deflate, request->head.headers,
                               request->head.n_headers, window_bits) == 0;
}

/* With TLS it was counted when it began. */
static bool is_too_fast(cp_server *server, const cp_request *request) {
  return request->conn->tls == NULL &&
         !cp__guard_take_handshake(&server->peers.guard, uv_now(server->loop));
}

static void refuse_too_fast(cp_server *server, cp_request *request) {
  server->stats.rate_refusals++;
  cp_request_refuse(request, 503, "too many handshakes\n");
}

static void judge_upgrade(cp_server *server, cp_request *request) {
  if (is_too_fast(server, request))
    refuse_too_fast(server, request);
  else if (!negotiate(server, request))
    cp_request_refuse(request, 400, "Sec-WebSocket-Extensions is malformed\n");
  else if (!origin_is_allowed(server, &request->head))
    cp_request_refuse(request, 403, "this origin is not allowed\n");
  else if (cp__server_is_full(server))
    refuse_full(server, request);
  else if (server->options.on_upgrade == NULL)
    cp_request_refuse(request, 403, "nobody is let in here\n");
  else
    server->options.on_upgrade(server, request);
}

void cp__server_on_request(void *ctx, cp_request *request) {
  cp_server *server = ctx;

  request->owner = cp_server_ref(server);
  if (request->head.upgrade)
    judge_upgrade(server, request);
  else if (server->options.on_http != NULL)
    server->options.on_http(server, request);
  else
    cp_request_refuse(request, 426, "this is a WebSocket server\n");
}

/* Open. ------------------------------------------------------------------- */

void cp__server_on_ready(void *ctx, cp_conn *conn) {
  cp_server *server = ctx;
  bool confirmed = cp__registry_is_confirmed(&server->registry, conn);
  cp__buf early;

  cp__conn_open(conn, &early);
  if (cp__conn_is_open(conn)) {
    server->stats.opened++;
    server->stats.conns++;
    cp__registry_opened(&server->registry, conn);
    if (server->options.on_open != NULL)
      server->options.on_open(server, conn, !confirmed);
  }
  cp__conn_begin(conn, cp__buf_bytes(&early));
  cp__buf_finish(&early);
}

/* Connections. ------------------------------------------------------------ */

cp_conn_id cp_conn_get_id(const cp_conn *conn) {
  const cp_server *server = cp__conn_peers(conn)->ctx;
  cp_conn_id id;

  id.instance = server->instance;
  id.serial = conn->serial;
  return id;
}

cp_bytes cp_conn_user(const cp_conn *conn) {
  const cp__user *user = conn->user;
  return cp_bytes_of(user->id, user->id_len);
}

void *cp_conn_data(const cp_conn *conn) {
  return conn->data;
}

void cp_conn_set_data(cp_conn *conn, void *data) {
  conn->data = data;
}

size_t cp_conn_queued(const cp_conn *conn) {
  return conn->q_bytes;
}

int cp_conn_close(cp_conn *conn, uint16_t code, cp_bytes reason) {
  if (!cp__close_is_valid(code, reason))
    return CP_E_INVALID;
  return cp__conn_close(conn, code, reason);
}
