/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef BENCH_BATCH_H
#define BENCH_BATCH_H

/* Batch: sends to many sockets that reach the kernel in few system calls, by
 * io_uring. Only what uses liburing can; without it batch_open says so. */

#include <stddef.h>

typedef struct batch_writer batch_writer;

batch_writer *batch_open(const int *sockets, unsigned n);
/* Send the same to each. All of it must fit into every socket's buffer. */
void batch_write(batch_writer *writer, const void *data, size_t len);
void batch_close(batch_writer *writer);

#endif
