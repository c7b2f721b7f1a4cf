/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* Listening sockets, and what comes from them to conn.c.
 *
 * The socket is the listener's own, libuv has a duplicate of it. When accept
 * fails, mostly since the process or the machine has no descriptors left, libuv
 * would try again at once and for ever; so that handle is closed, and opened
 * anew a moment later. Whoever connects meanwhile waits in the kernel. */

#include "server.h"

#include "bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 1024
/* After an accept that failed, or that found no memory. */
#define STALL_MS 100
/* That accept fails is logged so often. */
#define LOG_MS 1000

typedef struct cp__listener {
  cp__list link;   /* in cp_server.listeners */
  cp__timed stall; /* in cp_server.stalled */
  cp_server *server;
  uint64_t logged_ms; /* uv_now(); 0: never */
  int fd;             /* -1: it is closed */
  bool is_unix;
  bool has_handle; /* `uv`, perhaps closing */
  union {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
  } uv;
} cp__listener;

/* Accept. ----------------------------------------------------------------- */

static void log_stall(cp__listener *listener, const char *why) {
  uint64_t now_ms = uv_now(listener->server->loop);

  if (listener->logged_ms != 0 && now_ms - listener->logged_ms < LOG_MS)
    return;
  listener->logged_ms = now_ms;
  cp__logf(&listener->server->log, CP_LOG_WARN, "accept: %s, waiting", why);
}

static void stall(cp__listener *listener, const char *why) {
  log_stall(listener, why);
  cp__timed_start(&listener->server->stalled, &listener->stall);
}

static void accept_next(cp__listener *listener) {
  if (cp__conn_accept(&listener->server->peers, &listener->uv.stream) != 0)
    stall(listener, "out of memory");
}

static void free_listener(cp__listener *listener) {
  cp__list_remove(&listener->link);
  cp__free(listener->server->alloc, listener);
}

static void on_handle_closed(uv_handle_t *handle) {
  cp__listener *listener = handle->data;
  cp_server *server = listener->server;

  listener->has_handle = false;
  if (listener->fd >= 0)
    return;
  free_listener(listener);
  cp__server_maybe_end(server);
}

static void close_handle(cp__listener *listener) {
  if (!uv_is_closing(&listener->uv.handle))
    uv_close(&listener->uv.handle, on_handle_closed);
}

static void on_connection(uv_stream_t *stream, int status) {
  cp__listener *listener = stream->data;

  if (status == 0) {
    accept_next(listener);
    return;
  }
  close_handle(listener);
  stall(listener, cp_strerror(status));
}

static int init_handle(cp__listener *listener) {
  uv_loop_t *loop = listener->server->loop;
  int rc = listener->is_unix ? uv_pipe_init(loop, &listener->uv.pipe, 0)
                             : uv_tcp_init(loop, &listener->uv.tcp);

  listener->has_handle = rc == 0;
  listener->uv.handle.data = listener;
  return rc;
}

/* The descriptor is taken, whatever comes of it. */
static int open_handle(cp__listener *listener, int fd) {
  int rc = init_handle(listener);

  if (rc == 0)
    rc = listener->is_unix ? uv_pipe_open(&listener->uv.pipe, fd)
                           : uv_tcp_open(&listener->uv.tcp, fd);
  if (rc != 0)
    close(fd);
  return rc;
}

static int start_accepting(cp__listener *listener) {
  int fd = fcntl(listener->fd, F_DUPFD_CLOEXEC, 0);
  int rc;

  if (fd < 0)
    return uv_translate_sys_error(errno);
  rc = open_handle(listener, fd);
  if (rc == 0)
    rc = uv_listen(&listener->uv.stream, BACKLOG, on_connection);
  if (rc != 0 && listener->has_handle)
    close_handle(listener);
  return rc;
}

static void on_stall_over(cp__sweep_list *list, cp__timed *item) {
  cp__listener *listener = cp__container_of(item, cp__listener, stall);
  int rc;

  if (listener->has_handle && !uv_is_closing(&listener->uv.handle)) {
    accept_next(listener);
    return;
  }
  rc = listener->has_handle ? UV_EBUSY : start_accepting(listener);
  if (rc != 0)
    stall(listener, cp_strerror(rc));
  (void)list;
}

void cp__server_init_listeners(cp_server *server) {
  cp__list_init(&server->listeners);
  cp__sweep_add_list(&server->sweep, &server->stalled, STALL_MS, on_stall_over);
}

/* Close. ------------------------------------------------------------------ */

static void remove_socket_file(const cp__listener *listener) {
  struct sockaddr_un address;
  socklen_t len = sizeof address;

  memset(&address, 0, sizeof address);
  if (getsockname(listener->fd, (struct sockaddr *)&address, &len) == 0 &&
      address.sun_path[0] != '\0')
    unlink(address.sun_path);
}

static void close_listener(cp__listener *listener) {
  cp__timed_stop(&listener->stall);
  if (listener->fd < 0)
    return;
  if (listener->is_unix)
    remove_socket_file(listener);
  close(listener->fd);
  listener->fd = -1;
  if (listener->has_handle)
    close_handle(listener);
  else
    free_listener(listener);
}

void cp__server_close_listeners(cp_server *server) {
  cp__list *it = server->listeners.next;

  while (it != &server->listeners) {
    cp__listener *listener = cp__container_of(it, cp__listener, link);
    it = it->next;
    close_listener(listener);
  }
}

/* Listen. ----------------------------------------------------------------- */

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

/* Takes the socket. */
static cp__listener *create_listener(cp_server *server, int fd, bool is_unix) {
  cp__listener *listener = cp__calloc(server->alloc, sizeof *listener);

  if (listener == NULL) {
    close(fd);
    return NULL;
  }
  listener->server = server;
  listener->fd = fd;
  listener->is_unix = is_unix;
  cp__timed_init(&listener->stall);
  cp__list_push_back(&server->listeners, &listener->link);
  return listener;
}

/* Takes the socket, which is bound. */
static int listen_socket(cp_server *server, int fd, bool is_unix) {
  cp__listener *listener = create_listener(server, fd, is_unix);
  int rc;

  if (listener == NULL)
    return CP_E_NOMEM;
  rc = start_accepting(listener);
  if (rc != 0)
    close_listener(listener);
  return rc;
}

/* What libuv sets, too: a node that is started again gets its port at once, and
 * "::" is IPv4 as well. */
static void set_options(int fd, int family) {
  const int on = 1, off = 0;

  fcntl(fd, F_SETFD, FD_CLOEXEC);
  if (family == AF_UNIX)
    return;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (family == AF_INET6)
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  if (CP__NODELAY_IS_INHERITED)
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static int listen_sockaddr(cp_server *server, const struct sockaddr *address,
                           socklen_t len) {
  int fd = socket(address->sa_family, SOCK_STREAM, 0);
  int rc;

  if (fd < 0)
    return uv_translate_sys_error(errno);
  set_options(fd, address->sa_family);
  if (bind(fd, address, len) == 0)
    return listen_socket(server, fd, address->sa_family == AF_UNIX);
  rc = uv_translate_sys_error(errno);
  close(fd);
  return rc;
}

static int listen_unix(cp_server *server, const char *path) {
  struct sockaddr_un address;

  if (path[0] != '/')
    return CP_E_INVALID;
  if (strlen(path) >= sizeof address.sun_path)
    return UV_ENAMETOOLONG;
  memset(&address, 0, sizeof address);
  address.sun_family = AF_UNIX;
  strcpy(address.sun_path, path);
  remove_stale_socket(&address);
  return listen_sockaddr(server, (struct sockaddr *)&address, sizeof address);
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

/* This machine has no such address. Any other error is about this one, and
 * nobody expects to be listening on another. */
static bool is_unavailable(int rc) {
  return rc == UV_EADDRNOTAVAIL || rc == UV_EAFNOSUPPORT;
}

static int listen_addrinfo(cp_server *server, const struct addrinfo *address) {
  return listen_sockaddr(server, address->ai_addr, address->ai_addrlen);
}

int cp__server_listen_on(cp_server *server, const struct addrinfo *list) {
  int first = listen_addrinfo(server, list);
  int rc = first;

  while (is_unavailable(rc) && (list = list->ai_next) != NULL)
    rc = listen_addrinfo(server, list);
  return is_unavailable(rc) ? first : rc;
}

/* A name may stand for several addresses, as "localhost" does for ::1, which is
 * not there where IPv6 is off. */
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
  rc = cp__server_listen_on(server, req.addrinfo);
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

/* 0: it has none. */
static int port_of(const cp__listener *listener) {
  struct sockaddr_storage name;
  socklen_t len = sizeof name;

  if (listener->fd < 0 || listener->is_unix ||
      getsockname(listener->fd, (struct sockaddr *)&name, &len) != 0)
    return 0;
  return ntohs(name.ss_family == AF_INET6
                   ? ((struct sockaddr_in6 *)&name)->sin6_port
                   : ((struct sockaddr_in *)&name)->sin_port);
}

int cp_server_port(const cp_server *server) {
  cp__list *it;
  int port = 0;

  for (it = server->listeners.next; port == 0 && it != &server->listeners;
       it = it->next)
    port = port_of(cp__container_of(it, cp__listener, link));
  return port;
}
