/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef BENCH_MODES_H
#define BENCH_MODES_H

/* Modes: what load can do. Each prints its report and returns false if anything
 * was lost or otherwise wrong. */

#include "options.h"

bool mode_relay(options *o);
bool mode_fanout(options *o);
bool mode_idle(options *o);
bool mode_storm(options *o);

#endif
