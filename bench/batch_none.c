/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "batch.h"

#include "die.h"

batch_writer *batch_open(const int *sockets, unsigned n) {
  (void)sockets;
  (void)n;
  die("built without liburing");
}

void batch_write(batch_writer *writer, const void *data, size_t len) {
  (void)writer;
  (void)data;
  (void)len;
}

void batch_close(batch_writer *writer) {
  (void)writer;
}
