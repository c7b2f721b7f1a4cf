/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

/* Report: one line of JSON on standard output, a flat object. */

#include "histogram.h"

/* `kind` says what was measured, `label` whom; neither needs escapes. */
void report_begin(const char *kind, const char *label);
void report_count(const char *name, uint64_t n);
void report_number(const char *name, double value);
/* p50_us, p90_us, p99_us, p999_us and max_us, each behind `prefix`. */
void report_latency(const char *prefix, const histogram *ns);
void report_end(void);

#endif
