/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "proc.h"

#include "clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool parse_one(proc *out, const char *text) {
  const char *equals = strchr(text, '=');
  size_t len = equals != NULL ? (size_t)(equals - text) : 0;

  if (len == 0 || len >= sizeof out->name)
    return false;
  memset(out, 0, sizeof *out);
  memcpy(out->name, text, len);
  out->pid = (pid_t)strtol(equals + 1, NULL, 10);
  return out->pid > 0 && clock_getcpuclockid(out->pid, &out->clock) == 0;
}

bool procs_parse(procs *p, const char *text) {
  p->n = 0;
  for (;;) {
    if (p->n == PROCS_MAX || !parse_one(&p->list[p->n], text))
      return false;
    p->n++;
    text = strchr(text, ',');
    if (text == NULL)
      return true;
    text++;
  }
}

unsigned procs_count(const procs *p, const char *name) {
  unsigned n = 0;
  size_t i;

  for (i = 0; i < p->n; i++)
    n += strcmp(p->list[i].name, name) == 0;
  return n;
}

void procs_mark(procs *p) {
  size_t i;

  for (i = 0; i < p->n; i++)
    p->list[i].began = clock_ns(p->list[i].clock);
}

void procs_stop(procs *p) {
  size_t i;

  for (i = 0; i < p->n; i++) {
    proc *one = &p->list[i];
    one->cpu_ns = clock_ns(one->clock) - one->began;
  }
}

uint64_t procs_cpu_ns(const procs *p, const char *name) {
  uint64_t sum = 0;
  size_t i;

  for (i = 0; i < p->n; i++)
    if (strcmp(p->list[i].name, name) == 0)
      sum += p->list[i].cpu_ns;
  return sum;
}

/* The number, in kB, behind `key` in a file of /proc/PID, in bytes. */
static uint64_t read_kilobytes(pid_t pid, const char *file, const char *key) {
  char text[256];
  uint64_t bytes = 0;
  FILE *f;

  snprintf(text, sizeof text, "/proc/%ld/%s", (long)pid, file);
  f = fopen(text, "r");
  if (f == NULL)
    return 0;
  while (bytes == 0 && fgets(text, sizeof text, f) != NULL)
    if (strncmp(text, key, strlen(key)) == 0)
      bytes = strtoull(text + strlen(key), NULL, 10) * 1024;
  fclose(f);
  return bytes;
}

static uint64_t sum_kilobytes(const procs *p, const char *name,
                              const char *file, const char *key) {
  uint64_t sum = 0;
  size_t i;

  for (i = 0; i < p->n; i++)
    if (strcmp(p->list[i].name, name) == 0)
      sum += read_kilobytes(p->list[i].pid, file, key);
  return sum;
}

/* Not VmRSS, which newer kernels round to what the CPUs have handed in. */
uint64_t procs_rss(const procs *p, const char *name) {
  return sum_kilobytes(p, name, "smaps_rollup", "Rss:");
}

uint64_t procs_peak(const procs *p, const char *name) {
  return sum_kilobytes(p, name, "status", "VmHWM:");
}

/* The first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq,
 * in ticks. */
uint64_t machine_cpu_ns(void) {
  unsigned long long t[7] = {0};
  uint64_t tick_ns = NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK);
  FILE *f = fopen("/proc/stat", "r");

  if (f == NULL)
    return 0;
  if (fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu", &t[0], &t[1], &t[2],
             &t[3], &t[4], &t[5], &t[6]) != 7)
    t[0] = t[1] = t[2] = t[5] = t[6] = 0;
  fclose(f);
  return (t[0] + t[1] + t[2] + t[5] + t[6]) * tick_ns;
}

uint64_t machine_tcp_pages(void) {
  FILE *f = fopen("/proc/net/sockstat", "r");
  unsigned long long pages = 0;
  char line[256];

  if (f == NULL)
    return 0;
  while (fgets(line, sizeof line, f) != NULL)
    if (sscanf(line, "TCP: %*[^m]mem %llu", &pages) == 1)
      break;
  fclose(f);
  return pages;
}
