/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "report.h"

#include "clock.h"

#include <inttypes.h>
#include <stdio.h>

void report_begin(const char *kind, const char *label) {
  printf("{\"kind\":\"%s\",\"label\":\"%s\"", kind, label);
}

void report_count(const char *name, uint64_t n) {
  printf(",\"%s\":%" PRIu64, name, n);
}

void report_number(const char *name, double value) {
  printf(",\"%s\":%.3f", name, value);
}

void report_latency(const char *prefix, const histogram *ns) {
  static const struct {
    const char *name;
    double share;
  } points[] = {
      {"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}, {"max", 1}};
  size_t i;

  for (i = 0; i < sizeof points / sizeof *points; i++)
    printf(",\"%s%s_us\":%.1f", prefix, points[i].name,
           us_of_ns(histogram_quantile(ns, points[i].share)));
}

void report_end(void) {
  printf("}\n");
  fflush(stdout);
}
