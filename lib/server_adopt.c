/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* Sockets that the application accepted itself. The call, on whatever thread,
 * looks at the socket, copies the bytes that were read from it, and queues
 * both; the first of a batch wakes the loop, which takes the whole batch and,
 * so many a turn, goes on with each as with a socket that it accepted. So hooks
 * never run inside the call.
 *
 * A request that the application parsed is written out again, as a head in
 * front of those bytes: whatever comes here goes through the one parser.
 *
 * A stream's socket is duplicated, since a libuv handle can't change hands.
 *
 * Close drops what is still in the queue, as it does connections whose request
 * is not read. */

#include "server.h"

#include "sized.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TURN_BUDGET 256 /* handshakes: some 5 ms */

typedef struct cp__adoption {
  cp__list link; /* in cp_server.adoptions */
  int fd;
  bool is_unix;
  bool tls;
  size_t len;
  char bytes[];
} cp__adoption;

/* On the loop. ------------------------------------------------------------ */

static void adopt(cp_server *server, const cp__adoption *adoption) {
  cp__adopted adopted;
  int rc;

  adopted.fd = adoption->fd;
  adopted.is_unix = adoption->is_unix;
  adopted.tls = adoption->tls;
  adopted.received = cp_bytes_of(adoption->bytes, adoption->len);
  server->stats.adopted++;
  rc = cp__conn_adopt(&server->peers, &adopted);
  if (rc == 0)
    return;
  close(adoption->fd);
  cp__logf(&server->log, CP_LOG_WARN, "adopt: %s", cp_strerror(rc));
}

static size_t size_of(const cp__adoption *adoption) {
  return sizeof *adoption + adoption->len;
}

/* A hook may close the server meanwhile. Returns the size. */
static size_t take(cp_server *server, cp__adoption *adoption) {
  size_t size = size_of(adoption);

  if (server->state == CP__SERVER_OPEN)
    adopt(server, adoption);
  else
    close(adoption->fd);
  cp__free(server->alloc, adoption);
  return size;
}

static void take_some(cp_server *server, int budget) {
  cp__mailbox *box = &server->adoptions;
  cp__list *link;
  size_t n = 0;

  cp__mailbox_take(box);
  while (budget-- > 0 && (link = cp__list_pop(&box->taken)) != NULL)
    n += take(server, cp__container_of(link, cp__adoption, link));
  cp__mailbox_done(box, n);
  if (!cp__list_empty(&box->taken))
    cp__mailbox_wake(box);
}

static void on_posted(uv_async_t *async) {
  take_some(async->data, TURN_BUDGET);
}

int cp__server_start_adopter(cp_server *server) {
  int rc =
      cp__mailbox_init(&server->adoptions, server->loop,
                       server->options.max_thread_queue, on_posted, server);

  server->has_adopter = rc == 0;
  return rc;
}

static void on_async_closed(uv_handle_t *handle) {
  cp_server *server = handle->data;

  server->adopter_closed = true;
  cp__server_maybe_end(server);
}

void cp__server_close_adopter(cp_server *server) {
  if (!server->has_adopter) { /* create failed */
    server->adopter_closed = true;
    return;
  }
  cp__mailbox_close(&server->adoptions, on_async_closed);
  take_some(server, INT_MAX); /* which drops them all */
}

void cp__server_finish_adopter(cp_server *server) {
  cp__mailbox_finish(&server->adoptions);
}

/* The call. --------------------------------------------------------------- */

/* Could it stand in a request line? What it must be, the parser judges. */
static bool is_target(cp_bytes target) {
  const unsigned char *p = target.data;
  size_t i;

  for (i = 0; i < target.len; i++)
    if (p[i] <= ' ' || p[i] == 0x7F)
      return false;
  return target.len > 0;
}

static bool are_headers(const cp_header *headers, size_t n) {
  size_t i;

  for (i = 0; i < n; i++)
    if (!cp__is_token(cp_str(headers[i].name)) ||
        !cp__is_header_value(cp_str(headers[i].value)))
      return false;
  return true;
}

static bool is_request(const cp_adopt_options *o) {
  if (o->target == NULL)
    return o->n_headers == 0;
  return is_target(cp_str(o->target)) &&
         (o->headers != NULL || o->n_headers == 0) &&
         are_headers(o->headers, o->n_headers) && !o->tls;
}

/* Returns 0, CP_E_INVALID or CP_E_STATE. */
static int check(const cp_server *server, const cp_adopt_options *o) {
  if (!cp__is_sized(o, tls) || (o->fd >= 0) == (o->stream != NULL) ||
      !is_request(o) || (o->received.data == NULL && o->received.len > 0))
    return CP_E_INVALID;
  return o->tls && !server->has_tls ? CP_E_STATE : 0;
}

/* Is it a socket that can be served? Returns 0, CP_E_UNSUPPORTED or a libuv
 * code. */
static int look_at(int fd, bool *is_unix) {
  struct sockaddr_storage name;
  socklen_t len = sizeof name;
  int type = 0;
  socklen_t type_len = sizeof type;

  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) != 0 ||
      getpeername(fd, (struct sockaddr *)&name, &len) != 0)
    return uv_translate_sys_error(errno);
  len = sizeof name; /* a peer on a Unix socket may be nameless */
  if (getsockname(fd, (struct sockaddr *)&name, &len) != 0)
    return uv_translate_sys_error(errno);
  *is_unix = name.ss_family == AF_UNIX;
  if (type != SOCK_STREAM ||
      (!*is_unix && name.ss_family != AF_INET && name.ss_family != AF_INET6))
    return CP_E_UNSUPPORTED;
  return 0;
}

/* A descriptor of our own for the stream's socket. */
static int duplicate(uv_stream_t *stream, int *fd) {
  uv_os_fd_t original;
  int rc;

  if (stream->type != UV_TCP && stream->type != UV_NAMED_PIPE)
    return CP_E_INVALID;
  rc = uv_fileno((const uv_handle_t *)stream, &original);
  if (rc != 0)
    return rc;
  if (!uv_is_writable(stream) || uv_stream_get_write_queue_size(stream) > 0)
    return CP_E_STATE;
  *fd = fcntl(original, F_DUPFD_CLOEXEC, 0);
  return *fd >= 0 ? 0 : uv_translate_sys_error(errno);
}

static void append(cp__buf *out, cp_bytes bytes) {
  cp__buf_append(out, bytes.data, bytes.len);
}

/* What the library will read: the head again, and what came behind it. */
static void write_bytes(cp__buf *out, const cp_adopt_options *o) {
  size_t i;

  if (o->target != NULL) {
    append(out, cp_str("GET "));
    append(out, cp_str(o->target));
    append(out, cp_str(" HTTP/1.1\r\n"));
    for (i = 0; i < o->n_headers; i++) {
      append(out, cp_str(o->headers[i].name));
      append(out, cp_str(": "));
      append(out, cp_str(o->headers[i].value));
      append(out, cp_str("\r\n"));
    }
    append(out, cp_str("\r\n"));
  }
  append(out, o->received);
}

static cp__adoption *create_adoption(const cp_server *server,
                                     const cp_adopt_options *o) {
  cp__adoption *adoption = NULL;
  cp__buf bytes;
  size_t len;

  cp__buf_init(&bytes, server->alloc);
  write_bytes(&bytes, o);
  len = cp__buf_len(&bytes);
  if (!bytes.failed)
    adoption = cp__malloc(server->alloc, sizeof *adoption + len);
  if (adoption != NULL) {
    cp__list_init(&adoption->link);
    adoption->tls = o->tls != 0;
    adoption->len = len;
    if (len > 0)
      memcpy(adoption->bytes, bytes.data, len);
  }
  cp__buf_finish(&bytes);
  return adoption;
}

static int adopt_fd(cp_server *server, const cp_adopt_options *o, int fd) {
  cp__adoption *adoption;
  bool is_unix = false;
  int rc = look_at(fd, &is_unix);

  if (rc != 0)
    return rc;
  adoption = create_adoption(server, o);
  if (adoption == NULL)
    return CP_E_NOMEM;
  adoption->fd = fd;
  adoption->is_unix = is_unix;
  rc = cp__mailbox_post(&server->adoptions, &adoption->link, size_of(adoption));
  if (rc != 0)
    cp__free(server->alloc, adoption);
  return rc;
}

static int adopt_stream(cp_server *server, const cp_adopt_options *o) {
  int fd;
  int rc = duplicate(o->stream, &fd);

  if (rc != 0)
    return rc;
  rc = adopt_fd(server, o, fd);
  if (rc != 0)
    close(fd);
  else
    uv_read_stop(o->stream);
  return rc;
}

int cp_server_adopt(cp_server *server, const cp_adopt_options *options) {
  int rc = check(server, options);

  if (rc != 0)
    return rc;
  if (options->stream != NULL)
    return adopt_stream(server, options);
  return adopt_fd(server, options, options->fd);
}
