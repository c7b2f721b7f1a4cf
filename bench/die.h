/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef BENCH_DIE_H
#define BENCH_DIE_H

/* Print a line that begins with the program's name, and end the program. */
void die(const char *format, ...)
    __attribute__((format(printf, 1, 2), noreturn));

#endif
