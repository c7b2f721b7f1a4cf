/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef BENCH_PROC_H
#define BENCH_PROC_H

/* Proc: CPU time and memory of the processes that are measured. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#define PROCS_MAX 64

typedef struct proc {
  char name[16]; /* several may share one, and are summed up */
  pid_t pid;
  clockid_t clock; /* its CPU time, all threads, user and system */
  uint64_t began;  /* that clock at the last mark */
  uint64_t cpu_ns; /* between the last mark and the last stop */
} proc;

typedef struct procs {
  proc list[PROCS_MAX];
  size_t n;
} procs;

/* Read "node=123,node=124,redis=125". False: that is not what it says, or there
 * is no such process. */
bool procs_parse(procs *p, const char *text);

/* How many have this name. */
unsigned procs_count(const procs *p, const char *name);

void procs_mark(procs *p);
void procs_stop(procs *p);
/* Of all with this name. */
uint64_t procs_cpu_ns(const procs *p, const char *name);

/* Memory in RAM, in bytes, of all with this name; its greatest extent so far.
 * 0 if it can't be read. */
uint64_t procs_rss(const procs *p, const char *name);
uint64_t procs_peak(const procs *p, const char *name);

/* What all CPUs of the machine have worked so far, to see who else was there.
 */
uint64_t machine_cpu_ns(void);
/* What all TCP sockets of the machine hold, in pages. 0 if it can't be read. */
uint64_t machine_tcp_pages(void);

#endif
