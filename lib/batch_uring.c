/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* Every send is marked MSG_DONTWAIT: it has ended, one way or another, when the
 * system call that submits it returns, so nothing of it is under way between
 * two batches and libuv never shares a stream with the ring. */
#include "batch.h"

#include <errno.h>
#include <liburing.h>
#include <string.h>
#include <sys/socket.h>

#define N_BUFS (CP__BATCH_MAX + 2 * CP__BATCH_BUFS)

struct cp__batch {
  const cp_allocator *alloc;
  struct io_uring ring;
  unsigned n;      /* writes */
  unsigned n_bufs; /* of all of them */
  int results[CP__BATCH_MAX];
  struct msghdr heads[CP__BATCH_MAX];
  uv_buf_t bufs[N_BUFS];
};

/* False: the kernel has none, or doesn't allow it, or is older than 5.17. */
static bool init_ring(struct io_uring *ring) {
  if (io_uring_queue_init(CP__BATCH_MAX, ring, 0) < 0)
    return false;
  if (ring->features & IORING_FEAT_CQE_SKIP)
    return true;
  io_uring_queue_exit(ring);
  return false;
}

int cp__batch_create(cp__batch **batch, const cp_allocator *alloc) {
  *batch = cp__calloc(alloc, sizeof **batch);
  if (*batch == NULL)
    return CP_E_NOMEM;
  (*batch)->alloc = alloc;
  if (init_ring(&(*batch)->ring))
    return 0;
  cp__free(alloc, *batch);
  *batch = NULL;
  return 0;
}

void cp__batch_destroy(cp__batch *batch) {
  if (batch == NULL)
    return;
  io_uring_queue_exit(&batch->ring);
  cp__free(batch->alloc, batch);
}

uv_buf_t *cp__batch_room(cp__batch *batch) {
  if (batch->n == CP__BATCH_MAX || N_BUFS - batch->n_bufs < CP__BATCH_BUFS)
    return NULL;
  return &batch->bufs[batch->n_bufs];
}

void cp__batch_add(cp__batch *batch, const uv_stream_t *stream,
                   unsigned n_bufs) {
  uv_buf_t *bufs = &batch->bufs[batch->n_bufs];
  struct io_uring_sqe *sqe = io_uring_get_sqe(&batch->ring);
  int flags = MSG_DONTWAIT | MSG_NOSIGNAL;
  uv_os_fd_t fd = -1;

  uv_fileno((const uv_handle_t *)stream, &fd);
  if (n_bufs == 1) {
    io_uring_prep_send(sqe, fd, bufs->base, bufs->len, flags);
  } else {
    struct msghdr *head = &batch->heads[batch->n];

    memset(head, 0, sizeof *head);
    head->msg_iov = (struct iovec *)bufs;
    head->msg_iovlen = n_bufs;
    io_uring_prep_sendmsg(sqe, fd, head, (unsigned)flags);
  }
  sqe->user_data = batch->n;
  batch->results[batch->n++] = UV_EAGAIN;
  batch->n_bufs += n_bufs;
}

/* A lack of kernel memory, for the ring's part or the socket's, is like a full
 * socket: libuv tries again, and finds what is really wrong. */
static int as_libuv(int res) {
  return res == -EINTR || res == -ENOBUFS || res == -ENOMEM ? UV_EAGAIN : res;
}

static unsigned take_results(cp__batch *batch) {
  struct io_uring_cqe *cqe;
  unsigned head, n = 0;

  io_uring_for_each_cqe(&batch->ring, head, cqe) {
    batch->results[cqe->user_data] = as_libuv(cqe->res);
    n++;
  }
  io_uring_cq_advance(&batch->ring, n);
  return n;
}

bool cp__batch_write(cp__batch *batch) {
  unsigned n_left = batch->n;

  batch->n = 0;
  batch->n_bufs = 0;
  while (n_left > 0) {
    int rc = io_uring_submit_and_wait(&batch->ring, n_left);

    n_left -= take_results(batch);
    if (rc < 0 && rc != -EINTR)
      return false;
  }
  return true;
}

int cp__batch_result(const cp__batch *batch, unsigned i) {
  return batch->results[i];
}
