/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "batch.h"

#include "die.h"

#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define AT_ONCE 512

struct batch_writer {
  struct io_uring ring;
  unsigned n;
};

static void check(int rc, const char *what) {
  if (rc < 0)
    die("%s: %s", what, strerror(-rc));
}

batch_writer *batch_open(const int *sockets, unsigned n) {
  struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER |
                                            IORING_SETUP_COOP_TASKRUN};
  batch_writer *self = malloc(sizeof *self);

  if (self == NULL)
    die("no memory");
  self->n = n;
  check(io_uring_queue_init_params(AT_ONCE, &self->ring, &params), "io_uring");
  check(io_uring_register_files(&self->ring, sockets, n), "register_files");
  return self;
}

/* Only what fails is told. */
static void prepare(batch_writer *self, unsigned i, const void *data,
                    size_t len) {
  struct io_uring_sqe *sqe = io_uring_get_sqe(&self->ring);

  io_uring_prep_send(sqe, (int)i, data, len,
                     MSG_NOSIGNAL | MSG_DONTWAIT | MSG_WAITALL);
  sqe->flags |= IOSQE_FIXED_FILE | IOSQE_CQE_SKIP_SUCCESS;
}

void batch_write(batch_writer *self, const void *data, size_t len) {
  struct io_uring_cqe *cqe;
  unsigned i;

  for (i = 0; i < self->n; i++) {
    prepare(self, i, data, len);
    if ((i + 1) % AT_ONCE == 0 || i + 1 == self->n)
      check(io_uring_submit(&self->ring), "submit");
  }
  if (io_uring_peek_cqe(&self->ring, &cqe) == 0)
    die("a send failed: %s", strerror(-cqe->res));
}

void batch_close(batch_writer *self) {
  io_uring_queue_exit(&self->ring);
  free(self);
}
