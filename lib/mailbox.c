/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "mailbox.h"

#include "clusterpush/base.h"

int cp__mailbox_init(cp__mailbox *box, uv_loop_t *loop, size_t max_bytes,
                     uv_async_cb on_posted, void *data) {
  int rc = uv_mutex_init(&box->mutex);

  if (rc != 0)
    return rc;
  rc = uv_async_init(loop, &box->async, on_posted);
  if (rc != 0) {
    uv_mutex_destroy(&box->mutex);
    return rc;
  }
  box->async.data = data;
  cp__list_init(&box->posted);
  cp__list_init(&box->taken);
  box->n_bytes = 0;
  box->max_bytes = max_bytes;
  box->closed = false;
  return 0;
}

int cp__mailbox_post(cp__mailbox *box, cp__list *link, size_t size) {
  int rc = 0;

  uv_mutex_lock(&box->mutex);
  if (box->closed) {
    rc = CP_E_CLOSED;
  } else if (box->n_bytes > 0 && box->n_bytes + size > box->max_bytes) {
    rc = CP_E_FULL;
  } else {
    /* Under the lock, since close ends the handle under it. */
    if (cp__list_empty(&box->posted))
      uv_async_send(&box->async);
    box->n_bytes += size;
    cp__list_push_back(&box->posted, link);
  }
  uv_mutex_unlock(&box->mutex);
  return rc;
}

void cp__mailbox_take(cp__mailbox *box) {
  uv_mutex_lock(&box->mutex);
  cp__list_splice(&box->taken, &box->posted);
  uv_mutex_unlock(&box->mutex);
}

void cp__mailbox_done(cp__mailbox *box, size_t n_bytes) {
  if (n_bytes == 0)
    return;
  uv_mutex_lock(&box->mutex);
  box->n_bytes -= n_bytes;
  uv_mutex_unlock(&box->mutex);
}

void cp__mailbox_wake(cp__mailbox *box) {
  if (!box->closed)
    uv_async_send(&box->async);
}

void cp__mailbox_close(cp__mailbox *box, uv_close_cb on_closed) {
  uv_mutex_lock(&box->mutex);
  box->closed = true;
  uv_close((uv_handle_t *)&box->async, on_closed);
  uv_mutex_unlock(&box->mutex);
}

void cp__mailbox_finish(cp__mailbox *box) {
  uv_mutex_destroy(&box->mutex);
}
