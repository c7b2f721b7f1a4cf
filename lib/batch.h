/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_BATCH_H
#define CP_BATCH_H

/* Batch: writes to many sockets, each as by uv_try_write(), in one system call:
 * by io_uring, where it is built in and the kernel allows it. batch_none.c
 * stands in where it is not built in. */

#include "alloc.h"

#include <stdbool.h>
#include <uv.h>

#define CP__BATCH_MAX  256 /* writes */
#define CP__BATCH_BUFS 64  /* of one write */

typedef struct cp__batch cp__batch;

/* `*batch` is NULL where there is no io_uring: one does without. Returns 0 or
 * CP_E_NOMEM. */
int cp__batch_create(cp__batch **batch, const cp_allocator *alloc);
/* NULL: nothing. */
void cp__batch_destroy(cp__batch *batch);

/* Where the buffers of the next write are to be put, up to CP__BATCH_BUFS.
 * NULL: the batch is full. */
uv_buf_t *cp__batch_room(cp__batch *batch);
/* Add a write of the `n_bufs` that were put there, to a stream without
 * unwritten data. What they point to must last until cp__batch_write(). */
void cp__batch_add(cp__batch *batch, const uv_stream_t *stream,
                   unsigned n_bufs);
/* Write, without waiting. Returns false if io_uring failed: no batch is written
 * from then on. The results are there in any case. */
bool cp__batch_write(cp__batch *batch);
/* The result of write `i`, in the order of adding, as uv_try_write()'s. Valid
 * until the next add. */
int cp__batch_result(const cp__batch *batch, unsigned i);

#endif
