/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include "proc.h"

#define PORTS_MAX 64

typedef struct ports {
  uint16_t list[PORTS_MAX];
  uint32_t n;
} ports;

typedef struct options {
  const char *mode;
  const char *label;
  ports user_ports;
  ports send_ports; /* the same, if not given */
  uint32_t users;
  uint32_t first_user; /* the number of the first */
  uint32_t senders;
  uint32_t concurrency;
  size_t size;
  double rate; /* messages a second; 0: a closed loop */
  uint32_t window;
  double warmup;
  double seconds;
  bool slow_half;
  bool reconnect;
  uint16_t redis_port;
  procs procs;
} options;

/* Ends the program when they make no sense. */
void options_parse(options *o, int argc, char **argv);

#endif
