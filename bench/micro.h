/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef BENCH_MICRO_H
#define BENCH_MICRO_H

#include <stddef.h>

/* Each sets up what it needs and then does its operation `n` times. What the
 * setup costs falls out when two runs are compared, see micro.sh. */

/* One text to each of 16 connected users in turn, a turn of the loop every 16:
 * the whole way from cp_send_to_user() to write(2) on a single node. */
void micro_send_to_user(size_t n);
/* One delivery of broadcasts to 16 connections. */
void micro_broadcast(size_t n);

/* Ends the program unless `ok`. */
void micro_check(int ok, const char *what);

#endif
