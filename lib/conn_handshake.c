/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* Before OPEN. The happy path: the request's head is read (ASKING), the
 * application accepts it (ASKED), the 101 waits until the user's subscription
 * is confirmed (JOINING), then it is queued.
 *
 * The request, some 3 KB with its table of headers, is made when its first byte
 * comes and is gone once it is accepted: who connects and says nothing weighs
 * as little as who waits for Redis.
 *
 * Reading goes on between a complete head and the 101, so that a client that
 * leaves is noticed: what it sends early waits here, and from MAX_EARLY bytes
 * on in the kernel. */

#include "conn.h"

#include "request.h"

#define MAX_EARLY 4096 /* who obeys the protocol sends nothing yet */

struct cp__joining {
  cp__blob *response; /* the 101 */
  cp__buf early;      /* what came behind the request's head */
};

static void joining_destroy(cp__joining *joining, const cp_allocator *alloc) {
  cp__blob_unref(joining->response);
  cp__buf_finish(&joining->early);
  cp__free(alloc, joining);
}

void cp__conn_drop_handshake(cp_conn *conn) {
  switch (conn->state) {
  case CP__CONN_ASKING:
    cp__request_destroy(conn->in.request);
    break;
  case CP__CONN_ASKED: /* who is about to answer it keeps it */
    conn->in.request->conn = NULL;
    break;
  case CP__CONN_JOINING:
    joining_destroy(conn->in.joining, cp__conn_peers(conn)->alloc);
    break;
  default:
    break;
  }
  conn->in.ws = NULL;
}

/* Answers. ---------------------------------------------------------------- */

void cp__conn_respond(cp_conn *conn, cp__blob *response) {
  cp__conn_drop_handshake(conn);
  cp__conn_start_flushing(conn);
  if (response == NULL || !cp__conn_push(conn, response)) {
    cp__conn_kill(conn);
    return;
  }
  cp__conn_start_reading(conn);
  cp__conn_leave(conn, CP__WS_ABNORMAL, cp_bytes_of(NULL, 0));
}

static bool asked_by_head(const cp_conn *conn) {
  return conn->state <= CP__CONN_ASKED && conn->in.request != NULL &&
         conn->in.request->head.head_only;
}

void cp__conn_refuse(cp_conn *conn, int status) {
  cp__peers *peers = cp__conn_peers(conn);
  cp__buf out;

  peers->stats->refused++;
  cp__buf_init(&out, peers->alloc);
  cp__http_write_response(&out, status, cp_str(NULL), NULL, 0,
                          cp_str(cp__http_reason(status)), asked_by_head(conn),
                          peers->retry_after_s);
  cp__conn_respond(
      conn,
      out.failed ? NULL : cp__blob_copy(peers->alloc, cp__buf_bytes(&out)));
  cp__buf_finish(&out);
}

/* Asking. ----------------------------------------------------------------- */

/* As cp__request_feed(). */
static int feed(cp_conn *conn, const void *data, size_t len) {
  cp__peers *peers = cp__conn_peers(conn);

  if (conn->in.request == NULL)
    conn->in.request = cp__request_create(conn, peers->alloc);
  if (conn->in.request == NULL)
    return -503;
  return cp__request_feed(conn->in.request, data, len, peers->max_request);
}

void cp__conn_take_head(cp_conn *conn, const void *data, size_t len) {
  cp__peers *peers = cp__conn_peers(conn);
  int rc = feed(conn, data, len);

  if (rc == 0)
    return;
  if (rc < 0) {
    cp__conn_refuse(conn, -rc);
    return;
  }
  cp__conn_set_state(conn, CP__CONN_ASKED);
  peers->host->on_request(peers->ctx, conn->in.request);
}

void cp__conn_take_early(cp_conn *conn, const void *data, size_t len) {
  cp__buf *early = conn->state == CP__CONN_JOINING ? &conn->in.joining->early
                                                   : &conn->in.request->early;

  cp__buf_append(early, data, len);
  if (early->failed)
    cp__conn_kill(conn);
  else if (cp__buf_len(early) >= MAX_EARLY)
    uv_read_stop(&conn->uv.stream);
}

/* Joining. ---------------------------------------------------------------- */

static cp__joining *joining_create(cp_request *request, cp__blob *response) {
  cp__joining *joining = cp__malloc(request->alloc, sizeof *joining);

  if (joining == NULL) {
    cp__blob_unref(response);
    return NULL;
  }
  joining->response = response;
  cp__buf_init(&joining->early, request->alloc);
  return joining;
}

int cp__conn_join(cp_conn *conn, cp__blob *response) {
  cp__peers *peers = cp__conn_peers(conn);
  cp_request *request = conn->in.request;
  cp__joining *joining = joining_create(request, response);
  int rc;

  if (joining == NULL)
    return CP_E_NOMEM;
  rc = cp__peers_take_slot(peers, conn, &conn->serial);
  if (rc != 0) {
    joining_destroy(joining, peers->alloc);
    return rc;
  }
  joining->early = request->early;
  cp__buf_init(&request->early, peers->alloc);
  conn->in.joining = joining;
  cp__conn_set_state(conn, CP__CONN_JOINING);
  return 0;
}

void cp__conn_wake(cp_conn *conn) {
  if (conn->state == CP__CONN_JOINING)
    cp__conn_mark_dirty(conn);
}

void cp__conn_open(cp_conn *conn, cp__buf *early) {
  cp__joining *joining = conn->in.joining;
  cp__blob *response = joining->response;

  *early = joining->early;
  cp__free(cp__conn_peers(conn)->alloc, joining);
  conn->in.ws = NULL;
  cp__conn_set_state(conn, CP__CONN_OPEN);
  if (!cp__conn_push(conn, response)) {
    cp__conn_kill(conn);
    return;
  }
  /* No slow policy may ever drop it. That is so of a queue's first entry:
   * before a policy is asked, the socket or libuv has taken it. */
  if (conn->tls != NULL)
    cp__conn_tls_begin(conn);
  conn->flags |= CP__CONN_OPENED | CP__CONN_ALIVE;
}

/* Time-outs. -------------------------------------------------------------- */

void cp__conn_on_asking_due(cp__sweep_list *list, cp__timed *item) {
  cp_conn *conn = cp__container_of(item, cp_conn, timed);

  (void)list;
  cp__conn_peers(conn)->stats->handshake_timeouts++;
  if (conn->tls != NULL && !cp__conn_tls_is_ready(conn))
    cp__conn_kill(conn);
  else
    cp__conn_refuse(conn, conn->state == CP__CONN_ASKING ? 408 : 503);
}

void cp__conn_on_joining_due(cp__sweep_list *list, cp__timed *item) {
  (void)list;
  cp__conn_mark_dirty(cp__container_of(item, cp_conn, timed));
}
